//! The delivery queue on Redis: a stream per shard, a fold in one string, and a stream for what is spilled.
//!
//! All keys of a shard lie in one hash tag, so the same scripts run on one node and on Redis Cluster. Every step is one
//! script, called by its digest only: a server that does not know it was restarted, and the first contact with it makes
//! a new epoch before anything else, unless nothing can have been lost (rule 28). Such an epoch is *sealed* until
//! `open` gives it the newest filter version: until then nothing can be claimed in it.
//!
//! | key | holds |
//! |---|---|
//! | `meta` | epoch, fold position, top, bytes, filter version, slots, turns, and which process of which node made the epoch |
//! | `epochs` | ordinal of an epoch -> epoch, so that an ack needs two bytes for it |
//! | `checkpoints` | per partition: owner, first and next offset |
//! | `turns` | the newest connections, with ids 0-(turn): slot and consumer |
//! | `here:<gateway>`, `heres` | who is connected at a gateway, for fifteen seconds; the gateways by their last word |
//! | `log`, `sizes` | the entries with ids 0-1, 0-2…, and the bytes of each |
//! | `base` | 6 bytes a slot, big endian: how many of its routes are folded |
//! | `acked` | 22 bytes a slot: minimum ack, ordinal of its epoch, last ack, last seen, flags |
//! | `c:<slot>` | rows of the consumers, once there is one beside `default` |
//! | `q:<slot>`, `spilled`, `total` | spilled records with ids 0-(last seq), the slots that have some, bytes ever spilled |
//! | `lost` | slot -> the last delivery lost to retention |

mod fold;
mod gateways;
mod link;
mod queue;
mod record;
mod retention;
mod scripts;

use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evs_core::{Epoch, Shard};

use crate::clock::Clock;
use crate::ports::{PortError, PortResult};
use link::Link;
use scripts::{Digests, Script};

const WHAT: &str = "Redis";

/// An append or an ack takes milliseconds; a server that is stuck this long is treated as away, and the identical call
/// is repeated.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);
/// A snapshot of a million slots is some megabytes.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// `XREAD` blocks no longer than this: a server without data does not cut the connection, so we look again (rule 4).
const BLOCK_MAX: Duration = Duration::from_secs(1);
/// A server that forgets its scripts again and again is being restarted again and again: the caller waits.
const CONTACTS_MAX: usize = 4;
/// An entry before any was seen: 200 deliveries with their bodies.
const ENTRY_BYTES_GUESS: u64 = 8 * 1024;

/// How a Redis delivery queue is opened.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Shards of the delivery log; fixed at the first start and checked.
    pub shards: u16,
    /// Bytes of a shard's log above which an append is `Full`.
    pub log_bytes_max: u64,
    /// The first part of every key, so that several installations may share a Redis.
    pub prefix: String,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self { shards: 1, log_bytes_max: 1024 * 1024 * 1024, prefix: "evs".into() }
    }
}

/// The delivery queue on a Redis node or a Redis Cluster.
#[derive(Debug)]
pub struct RedisQueue {
    options: RedisOptions,
    clock: Clock,
    /// Appends, claims and compactions, which must not wait behind reads.
    writes: Link,
    reads: Link,
    shards: Vec<ShardContact>,
}

/// What this process knows of a shard's server.
#[derive(Debug)]
struct ShardContact {
    /// Blocks while it follows the log, so nothing else may use it.
    tail: Link,
    digests: Mutex<Option<Arc<Digests>>>,
    /// One contact at a time; who waited for it takes its result.
    contact: tokio::sync::Mutex<()>,
    /// The newest top that was seen, and in which epoch: a log that ends before it was rolled back.
    seen: Mutex<Option<(Epoch, u64)>>,
    /// The mean size of the log's entries, from which the size of the next read is guessed.
    entry_bytes: AtomicU64,
    /// Where the retention goes on: the slot of the next queue, and of the next consumers.
    queues_hand: AtomicU32,
    consumers_hand: AtomicU32,
}

impl RedisQueue {
    /// Opens `redis://host:6379/0`, `rediss://…`, or `redis+cluster://host:7000,host:7001` (`rediss+cluster://…`), each
    /// with `?prefix=name` for several installations in one Redis. A server that cannot be reached now is no error: it
    /// is asked again with every call.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL, or that the store was made with another number of shards.
    pub async fn open(url: &str, mut options: RedisOptions, clock: Clock) -> anyhow::Result<Self> {
        let (url, prefix) = split_prefix(url);
        if let Some(prefix) = prefix {
            options.prefix = prefix;
        }
        let link = |timeout| Link::new(&url, timeout);
        let shards = (0..options.shards).map(|_| {
            Ok(ShardContact {
                tail: link(BLOCK_MAX + RESPONSE_TIMEOUT)?,
                digests: Mutex::default(),
                contact: tokio::sync::Mutex::default(),
                seen: Mutex::default(),
                entry_bytes: AtomicU64::new(ENTRY_BYTES_GUESS),
                queues_hand: AtomicU32::new(0),
                consumers_hand: AtomicU32::new(0),
            })
        });
        let shards = shards.collect::<anyhow::Result<_>>()?;
        let queue = Self { writes: link(RESPONSE_TIMEOUT)?, reads: link(READ_TIMEOUT)?, shards, options, clock };
        match queue.check_shards().await {
            Err(PortError::Damaged { cause, .. }) => anyhow::bail!("{cause}"),
            Err(error) => {
                tracing::warn!(%error, "the delivery queue cannot be reached yet; trying again with each call")
            }
            Ok(()) => {}
        }
        Ok(queue)
    }

    /// The number of shards is fixed: subscribers are spread over them by a hash.
    async fn check_shards(&self) -> PortResult<()> {
        let key = format!("{}:shards", self.options.prefix);
        let mut pipe = redis::pipe();
        pipe.cmd("SETNX").arg(&key).arg(self.options.shards).cmd("GET").arg(&key);
        let answers = self.reads.run(&pipe).await.map_err(port_error)?;
        let made: u16 = record::value(answers.into_iter().nth(1).unwrap_or_default())?;
        if made == self.options.shards {
            return Ok(());
        }
        let asked = self.options.shards;
        let cause = format!("this delivery queue was made with {made} shards, not {asked}; set queue_shards = {made}");
        Err(PortError::Damaged { what: WHAT, cause })
    }

    fn contact_of(&self, shard: Shard) -> PortResult<&ShardContact> {
        self.shards
            .get(usize::from(shard.0))
            .ok_or_else(|| PortError::Damaged { what: WHAT, cause: format!("there is no shard {shard}") })
    }

    fn key(&self, shard: Shard, name: &str) -> String {
        format!("{{{}:{shard}}}:{name}", self.options.prefix)
    }

    /// `EVALSHA` of a script on a shard.
    fn command(&self, shard: Shard, digests: &Digests, script: Script) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(digests.of(script)).arg(1).arg(self.key(shard, "meta"));
        command
    }

    /// Calls one script; makes the contact first where the server was restarted or has lost the shard.
    async fn call(
        &self,
        link: &Link,
        shard: Shard,
        script: Script,
        arguments: impl Fn(&mut redis::Cmd) + Send + Sync,
    ) -> PortResult<redis::Value> {
        let build = |digests: &Digests| {
            let mut command = self.command(shard, digests, script);
            arguments(&mut command);
            let mut pipe = redis::pipe();
            pipe.add_command(command);
            pipe
        };
        Ok(self.run(link, shard, build).await?.pop().unwrap_or_default())
    }

    /// Runs commands some of which call scripts by digest, again after each contact that it turns out to need.
    async fn run(
        &self,
        link: &Link,
        shard: Shard,
        build: impl Fn(&Digests) -> redis::Pipeline + Send + Sync,
    ) -> PortResult<Vec<redis::Value>> {
        let mut last = None;
        for _ in 0..CONTACTS_MAX {
            let digests = self.digests(shard).await?;
            match link.run(&build(&digests)).await {
                Err(error) if asks_for_contact(&error) => {
                    self.make_contact(shard, Some(&digests), None).await?;
                    last = Some(error);
                }
                result => return result.map_err(port_error),
            }
        }
        let cause = last.map_or_else(String::new, |error| error.to_string());
        Err(PortError::Unavailable { what: WHAT, cause })
    }
}

/// Takes `prefix=…` out of the URL's parameters; the others are for the client.
fn split_prefix(url: &str) -> (String, Option<String>) {
    let Some((base, query)) = url.split_once('?') else { return (url.to_owned(), None) };
    let (own, others): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| pair.starts_with("prefix="));
    let prefix = own.last().and_then(|pair| pair.strip_prefix("prefix=")).map(str::to_owned);
    let url = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
    (url, prefix)
}

/// The first word of the first error that the server answered.
fn code(error: &redis::RedisError) -> Option<String> {
    let errors = error.clone().into_server_errors()?;
    errors.first().map(|(_, error)| error.code().to_owned())
}

/// The server does not know our scripts, or has lost the shard.
fn asks_for_contact(error: &redis::RedisError) -> bool {
    matches!(code(error).as_deref(), Some("NOSCRIPT" | "EVSMISSING"))
}

/// Scripts are refused as a whole where there is no room (`OOM`, `MISCONF`): nothing was written.
fn port_error(error: redis::RedisError) -> PortError {
    let cause = error.to_string();
    match code(&error).as_deref() {
        Some("OOM" | "MISCONF") => PortError::Full { what: WHAT, cause },
        Some("WRONGTYPE") => PortError::Damaged { what: WHAT, cause },
        _ => PortError::Unavailable { what: WHAT, cause },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_out_of_the_url() {
        let split = |url| split_prefix(url);
        assert_eq!(split("redis://a:1/0"), ("redis://a:1/0".to_owned(), None));
        assert_eq!(split("redis://a:1/0?prefix=x"), ("redis://a:1/0".to_owned(), Some("x".to_owned())));
        let both = split("redis://a:1?protocol=resp3&prefix=x");
        assert_eq!(both, ("redis://a:1?protocol=resp3".to_owned(), Some("x".to_owned())));
    }
}
