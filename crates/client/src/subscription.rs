//! The stream of a subscriber's deliveries: what a program holds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use evs_api::frames::{Gap, Welcome};
use futures_util::Stream;
use serde_json::value::RawValue;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::connection::{self, Acked, Target};
use crate::progress::{Progress, position};
use crate::{Client, Error, StreamError};

/// Items that wait for the program. More than the server's window, so that a slow program does not keep the connection
/// from answering pings; the window is what bounds the events.
const WAITING_ITEMS_MAX: usize = 512;

/// How to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A named reader with a position of its own; `default` if absent.
    pub consumer: Option<String>,
    /// Where a reader without a position begins.
    pub from: From,
    /// Where you stopped, as [`Subscription::cursor`] told; goes before `from` and `since`.
    pub cursor: Option<String>,
    /// Begins in the past, from the event log: `10m`, RFC 3339, or `beginning`.
    pub since: Option<String>,
    /// A further condition.
    pub where_: Option<String>,
    /// Reads without moving the consumer's position.
    pub observe: bool,
    pub ack: Ack,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// As the server does: after the consumer's position.
    #[default]
    Stored,
    Latest,
    Earliest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ack {
    /// You call [`Subscription::ack`] when your effect is stored.
    #[default]
    Manual,
    /// A delivery is acked when you ask for the one after it.
    OnDelivery,
}

#[derive(Clone, Debug)]
pub enum StreamItem {
    /// Also after each reconnect.
    Connected(Welcome),
    Event(Delivery),
    /// Deliveries that will not come.
    Gap(Gap),
    /// All that waited has been told; what follows is live.
    CaughtUp,
    /// [`Subscription::cursor`] covers the quiet partitions too from here, and everything up to `seq`, which may be more
    /// than was delivered: what you had seen before an epoch change, or what a further condition left out. It is acked
    /// when you ask for the item after it and all deliveries before it are acked.
    Checkpoint {
        seq: u64,
        cursor: String,
    },
    /// Something that the server wants to be known, such as that a cursor could not be used.
    Notice {
        code: String,
        message: String,
    },
    /// It resumes after this time.
    Disconnected {
        reason: String,
        code: Option<u16>,
        retry_in: Duration,
    },
}

/// An event on its way to one subscriber.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Absent in a backfill.
    pub seq: Option<u64>,
    /// The life of the numbers that `seq` belongs to.
    pub epoch: Arc<str>,
    pub(crate) generation: u32,
    /// `partition:offset` in the event log.
    pub position: Option<String>,
    /// The filters that matched.
    pub filters: Vec<u32>,
    /// The event as it was published, to the byte.
    pub data: Box<RawValue>,
}

/// Deliveries of one subscriber; it connects, resumes and acks in a task of its own. Dropping it closes the connection.
#[derive(Debug)]
pub struct Subscription {
    items: mpsc::Receiver<Result<StreamItem, StreamError>>,
    acks: watch::Sender<Option<Acked>>,
    ack: Ack,
    /// Handed out and not acked yet, where acking is automatic.
    unacked: Option<Acked>,
    /// The newest delivery of the epoch that was handed out, and a checkpoint after it that is to be acked.
    handed: u64,
    checkpoint: Option<Acked>,
    /// As far as the program has come, which may be less than what has arrived.
    progress: Progress,
    task: JoinHandle<()>,
}

impl Client {
    /// Reads the deliveries of `subscriber`. Connecting happens in the background and is told by the items; it needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`Error::Config`] if the options contradict each other.
    pub fn subscribe(&self, subscriber: &str, mut options: Options) -> Result<Subscription, Error> {
        if options.observe && options.ack == Ack::OnDelivery {
            return Err(Error::Config("an observer does not ack: choose `observe` or acking".to_owned()));
        }
        options.since = options.since.map(|since| absolute(&since, time::OffsetDateTime::now_utc()));
        let progress = Progress::new(options.cursor.clone());
        let (item_sender, items) = mpsc::channel(WAITING_ITEMS_MAX);
        let (acks, ack_receiver) = watch::channel(None);
        let ack = options.ack;
        let target = Target { client: self.clone(), subscriber: subscriber.to_owned(), options };
        let task = tokio::spawn(connection::run(target, progress.clone(), item_sender, ack_receiver));
        Ok(Subscription { items, acks, ack, unacked: None, handed: 0, checkpoint: None, progress, task })
    }
}

impl Delivery {
    fn acked(&self, seq: u64) -> Acked {
        Acked { epoch: self.epoch.clone(), generation: self.generation, seq }
    }
}

impl Subscription {
    /// The next item; `None` after an error that ends the stream.
    pub async fn next(&mut self) -> Option<Result<StreamItem, StreamError>> {
        self.ack_previous();
        let item = self.items.recv().await?;
        self.handed_out(&item);
        Some(item)
    }

    /// This delivery and all before it are processed. Store [`Subscription::cursor`] with your effect before.
    pub fn ack(&self, delivery: &Delivery) {
        if let Some(seq) = delivery.seq {
            self.send_ack(delivery.acked(seq));
        }
    }

    /// Give it as [`Options::cursor`] to go on after the last item that [`Subscription::next`] returned. `None` until
    /// the server has told one.
    #[must_use]
    pub fn cursor(&self) -> Option<String> {
        self.progress.cursor()
    }

    /// Sends the acks that are due and closes the connection.
    pub async fn close(mut self) {
        self.ack_previous();
        self.items.close();
        // The task ends by itself within a deadline of its own; if it panicked there is nothing left to close.
        let _ = self.task.await;
    }

    fn ack_previous(&mut self) {
        if let Some(acked) = self.unacked.take() {
            self.send_ack(acked);
        }
        let all_acked = |checkpoint: &Acked| {
            let acked = self.acks.borrow();
            let acked = acked.as_ref().filter(|acked| acked.is_like(checkpoint)).map_or(0, |acked| acked.seq);
            acked >= self.handed && acked < checkpoint.seq
        };
        if self.checkpoint.as_ref().is_some_and(all_acked)
            && let Some(checkpoint) = self.checkpoint.take()
        {
            self.send_ack(checkpoint);
        }
    }

    fn send_ack(&self, acked: Acked) {
        self.acks.send_if_modified(|current| {
            let newer = current.as_ref().is_none_or(|old| !old.is_like(&acked) || old.seq < acked.seq);
            if newer {
                *current = Some(acked);
            }
            newer
        });
    }

    fn handed_out(&mut self, item: &Result<StreamItem, StreamError>) {
        match item {
            Ok(StreamItem::Connected(welcome)) => {
                if self.progress.epoch().map(|epoch| &**epoch) != Some(&welcome.epoch) {
                    (self.handed, self.checkpoint) = (0, None);
                }
                self.progress.welcome(welcome);
            }
            Ok(StreamItem::Event(delivery)) => {
                let seq = delivery.seq.unwrap_or(0);
                self.progress.advance(seq, position(delivery.position.as_deref()));
                if let Some(seq) = delivery.seq {
                    self.handed = seq;
                    if self.ack == Ack::OnDelivery {
                        self.unacked = Some(delivery.acked(seq));
                    }
                }
            }
            Ok(StreamItem::Gap(gap)) => self.progress.advance(gap.to.unwrap_or(0), None),
            Ok(StreamItem::Checkpoint { seq, cursor }) => {
                self.progress.checkpoint(*seq, cursor);
                let epoch = self.progress.epoch().cloned().unwrap_or_default();
                self.checkpoint = Some(Acked { epoch, generation: self.progress.generation(), seq: *seq });
            }
            Ok(StreamItem::Notice { code, .. }) => {
                let before = self.progress.generation();
                self.progress.notice(code);
                if self.progress.generation() != before {
                    (self.handed, self.checkpoint, self.unacked) = (0, None, None);
                }
            }
            Ok(StreamItem::CaughtUp | StreamItem::Disconnected { .. }) | Err(_) => {}
        }
    }
}

impl Stream for Subscription {
    type Item = Result<StreamItem, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ack_previous();
        let item = ready!(self.items.poll_recv(context));
        if let Some(item) = &item {
            self.handed_out(item);
        }
        Poll::Ready(item)
    }
}

/// `10m` as the moment it means now, so that a reconnect does not mean a later one.
fn absolute(since: &str, now: time::OffsetDateTime) -> String {
    let number_end = since.find(|c: char| !c.is_ascii_digit()).unwrap_or(since.len());
    let (number, unit) = since.split_at(number_end);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return since.to_owned(),
    };
    let moment = number
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .and_then(|seconds| now.checked_sub(time::Duration::seconds(seconds)));
    let text = moment.and_then(|moment| moment.format(&time::format_description::well_known::Rfc3339).ok());
    text.unwrap_or_else(|| since.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_times_become_absolute() {
        let now = time::macros::datetime!(2026-11-24 10:00:00 UTC);
        assert_eq!(absolute("10m", now), "2026-11-24T09:50:00Z");
        assert_eq!(absolute("2d", now), "2026-11-22T10:00:00Z");
        assert_eq!(absolute("beginning", now), "beginning");
        assert_eq!(absolute("99999999999999999999d", now), "99999999999999999999d");
        assert_eq!(absolute("2026-11-24T09:50:00Z", now), "2026-11-24T09:50:00Z");
    }
}
