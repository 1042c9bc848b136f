//! The events that the screen wants: of the whole log as an operator sees it, or of one subscriber, observed.

use std::sync::Arc;
use std::time::Duration;

use evs_client::{Ack, Client, Feed as Stream, FeedEvent, From, Options, StreamItem};
use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};

use super::{failure, tell};
use crate::clock;
use crate::feed::Mailbox;
use crate::message::{EventsQuery, Failure, FailureKind, FeedMessage, Incoming, Message, StreamState, Topic, Wants};

/// After a stream ended for good: the reason may pass, for example when the subscriber gets its first filter.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn run(
    client: Client,
    mut wants: watch::Receiver<Wants>,
    mailbox: Arc<Mailbox>,
    messages: mpsc::Sender<Message>,
) {
    loop {
        let wanted = wants.borrow_and_update().events.clone();
        let reading = async {
            let Some(query) = &wanted else { return std::future::pending().await };
            mailbox.open(query);
            loop {
                let ended = match &query.subscriber {
                    None => whole_log(&client, query, &mailbox, &messages).await,
                    Some(id) => observe(&client, id, query, &mailbox, &messages).await,
                };
                let Err(failure) = ended else { return };
                if tell(&messages, FeedMessage::Failed(Topic::Events, failure)).await.is_err() {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::select! {
            () = reading => return,
            () = changed(&mut wants, &wanted) => {}
        }
        if wants.has_changed().is_err() {
            return;
        }
    }
}

/// Until other events are wanted, or nobody wants anything any more.
async fn changed(wants: &mut watch::Receiver<Wants>, old: &Option<EventsQuery>) {
    while wants.changed().await.is_ok() {
        if wants.borrow_and_update().events != *old {
            return;
        }
    }
}

/// `Ok` when the loop is gone.
async fn whole_log(
    client: &Client,
    query: &EventsQuery,
    mailbox: &Mailbox,
    messages: &mpsc::Sender<Message>,
) -> Result<(), Failure> {
    let mut stream = client.events_stream(query.where_.clone(), None);
    while let Some(item) = stream.next().await {
        let state = match item {
            Ok(Stream::Connected) => StreamState::Open,
            Ok(Stream::Item(FeedEvent::Event(event))) => {
                mailbox.put(query, event.into());
                continue;
            }
            Ok(Stream::Item(FeedEvent::Drops(drops))) => {
                mailbox.put_drops(query, drops.dropped);
                continue;
            }
            Ok(Stream::Item(FeedEvent::CaughtUp)) => continue,
            Ok(Stream::Disconnected { error, .. }) => StreamState::Lost(error.to_string()),
            Err(error) => return Err(failure(error)),
        };
        if tell(messages, FeedMessage::EventStream(query.clone(), state)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn observe(
    client: &Client,
    id: &str,
    query: &EventsQuery,
    mailbox: &Mailbox,
    messages: &mpsc::Sender<Message>,
) -> Result<(), Failure> {
    let options = Options {
        from: From::Latest,
        where_: query.where_.clone(),
        observe: true,
        ack: Ack::Manual,
        ..Options::default()
    };
    let mut stream = client.subscribe(id, options).map_err(failure)?;
    while let Some(item) = stream.next().await {
        let state = match item {
            Ok(StreamItem::Connected(_)) => StreamState::Open,
            Ok(StreamItem::Event(delivery)) => {
                let incoming = Incoming {
                    position: delivery.position,
                    seq: delivery.seq,
                    time_ms: clock::now_ms(),
                    filters: delivery.filters,
                    json: delivery.data.get().into(),
                    headers: None,
                };
                mailbox.put(query, incoming);
                continue;
            }
            Ok(
                StreamItem::Gap(_) | StreamItem::CaughtUp | StreamItem::Checkpoint { .. } | StreamItem::Notice { .. },
            ) => continue,
            Ok(StreamItem::Disconnected { reason, .. }) => StreamState::Lost(reason),
            Err(error) => {
                return Err(Failure { kind: FailureKind::Rejected, why: error.to_string(), problem: None });
            }
        };
        if tell(messages, FeedMessage::EventStream(query.clone(), state)).await.is_err() {
            return Ok(());
        }
    }
    Err(Failure { why: "the stream ended".into(), ..Failure::default() })
}
