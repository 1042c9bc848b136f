//! The scripts by name, and the first contact with a server, which loads them.

use std::sync::{Arc, PoisonError};

use evs_core::{Epoch, Shard};

use super::{RedisQueue, WHAT, port_error, record};
use crate::ports::{PortError, PortResult};

const PRELUDE: &str = include_str!("lua/prelude.lua");
const CONTACT: &str = include_str!("lua/contact.lua");

/// What a script may do: the flags that Redis checks before its first line.
const READS: &str = "no-writes";
/// Refused as a whole while memory is short.
const GROWS: &str = "";
/// Allowed then as well: it frees memory, or the way to free it leads through it.
const FREES: &str = "allow-oom";

macro_rules! scripts {
    ($($name:ident $flags:ident $file:literal,)*) => {
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Script {
            $($name,)*
        }

        const TEXTS: &[(&str, &str)] = &[$(($flags, include_str!(concat!("lua/", $file, ".lua"))),)*];
    };
}

scripts! {
    Open FREES "open",
    State READS "state",
    Raise FREES "raise",
    Claim FREES "claim",
    Append GROWS "append",
    Checkpoints READS "checkpoints",
    Compact FREES "compact",
    Attach FREES "attach",
    Present GROWS "present",
    Here READS "here",
    Turn FREES "turn",
    Turns READS "turns",
    Read READS "read",
    Move FREES "move",
    Remove FREES "remove",
    Standings READS "standings",
    Consumers READS "consumers",
    Old READS "old",
    Expire FREES "expire",
    Forget FREES "forget",
}

/// The digests of one shard's scripts, in the order of [`Script`].
#[derive(Debug)]
pub(super) struct Digests(Vec<String>);

impl Digests {
    pub(super) fn of(&self, script: Script) -> &str {
        self.0.get(script as usize).map_or("", String::as_str)
    }
}

/// The text of a script for one shard. It names the shard, so that each shard has scripts of its own: loading them for
/// one must not hide from another that the server was restarted.
fn text(meta: &str, flags: &str, body: &str) -> String {
    let shebang = if flags.is_empty() { "#!lua".to_owned() } else { format!("#!lua flags={flags}") };
    format!("{shebang}\n-- {meta}\n{PRELUDE}\n{body}")
}

/// What is known of the server that holds a shard.
struct Server {
    run_id: String,
    node: String,
    /// Whether what it has answered survives its restart.
    keeps: bool,
}

impl RedisQueue {
    pub(super) async fn digests(&self, shard: Shard) -> PortResult<Arc<Digests>> {
        let known = self.contact_of(shard)?.digests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(digests) => Ok(digests),
            None => self.make_contact(shard, None, None).await,
        }
    }

    /// The first contact with a server that does not know our scripts: it decides on the epoch and loads them in one
    /// transaction, so that no restart can come between. Does nothing where another task was faster. `lost` is an
    /// epoch that must end, because the store is known to have lost something in it.
    pub(super) async fn make_contact(
        &self,
        shard: Shard,
        failed: Option<&Arc<Digests>>,
        lost: Option<Epoch>,
    ) -> PortResult<Arc<Digests>> {
        let contact = self.contact_of(shard)?;
        let _one = contact.contact.lock().await;
        let known = contact.digests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known
            && !failed.is_some_and(|failed| Arc::ptr_eq(failed, &known))
        {
            return Ok(known);
        }
        self.check_shards().await?;
        let server = self.server(shard).await?;
        let meta = self.key(shard, "meta");
        let mut pipe = redis::pipe();
        pipe.atomic().cmd("EVAL").arg(CONTACT).arg(1).arg(&meta);
        pipe.arg(&server.run_id).arg(u8::from(server.keeps)).arg(&server.node);
        pipe.arg(Epoch(rand::random()).to_string()).arg(lost.map(|epoch| epoch.to_string()).unwrap_or_default());
        for (flags, body) in TEXTS {
            pipe.cmd("SCRIPT").arg("LOAD").arg(text(&meta, flags, body));
        }
        let answers: Vec<redis::Value> = self.writes.run(&pipe).await.map_err(port_error)?;
        let texts = answers.into_iter().map(record::value::<String>).collect::<PortResult<Vec<_>>>()?;
        let [epoch, digests @ ..] = &texts[..] else {
            return Err(PortError::Damaged { what: WHAT, cause: "it did not answer a transaction".into() });
        };
        tracing::info!(%shard, epoch, run_id = server.run_id, keeps = server.keeps, "in contact with Redis");
        let digests = Arc::new(Digests(digests.to_vec()));
        *contact.digests.lock().unwrap_or_else(PoisonError::into_inner) = Some(digests.clone());
        Ok(digests)
    }

    /// The epoch outlives a restart only if nothing that was answered can be lost: every write is in the append-only
    /// file before its answer, and the same node reads that file again. A promoted replica is never trusted.
    async fn server(&self, shard: Shard) -> PortResult<Server> {
        let mut pipe = redis::pipe();
        pipe.ignore_errors().cmd("INFO").arg("server").cmd("INFO").arg("replication");
        for name in ["appendonly", "appendfsync", "dir", "port"] {
            pipe.cmd("CONFIG").arg("GET").arg(name);
        }
        if self.writes.is_cluster() {
            pipe.cmd("CLUSTER").arg("MYID");
        }
        let answers = self.writes.run_at(&self.key(shard, "meta"), &pipe).await.map_err(port_error)?;
        let info = |at: usize, field: &str| -> String {
            let text: String =
                answers.get(at).cloned().and_then(|answer| record::value(answer).ok()).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        // A server that does not tell its configuration is taken for one that may lose something.
        let config = |at: usize| -> String {
            let pair: Vec<String> =
                answers.get(at).cloned().and_then(|answer| record::value(answer).ok()).unwrap_or_default();
            pair.into_iter().nth(1).unwrap_or_default()
        };
        let run_id = info(0, "run_id");
        if run_id.is_empty() {
            let cause = "it does not tell its run id (INFO server)".to_owned();
            return Err(PortError::Unavailable { what: WHAT, cause });
        }
        let never_promoted = info(1, "master_replid2").bytes().all(|byte| byte == b'0');
        let durable = config(2) == "yes" && config(3) == "always";
        let node = match answers.get(6).cloned().map(record::value::<String>) {
            Some(Ok(id)) => id,
            _ => format!("{}:{}", config(4), config(5)),
        };
        Ok(Server { run_id, node, keeps: durable && info(1, "role") == "master" && never_promoted })
    }
}
