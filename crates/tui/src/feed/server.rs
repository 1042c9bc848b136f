//! A server as a feed: one task for the stats, whose state is the connection's state, and one each for the log, the
//! pages that the screen wants, its events, and requests.

mod events;
mod pages;
mod requests;

use std::time::Duration;

use evs_client::{Client, Error, Feed as Stream};
use futures_util::StreamExt;
use rand::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Ends, Feed};
use crate::clock;
use crate::message::{Connection, Failure, FailureKind, FeedMessage, Message, Topic};

/// A server that reports every second and says nothing for this long is gone, whatever TCP thinks.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const RETRY_MIN: Duration = Duration::from_millis(500);
/// An operator waits in front of the screen: longer pauses save nothing worth it.
const RETRY_MAX: Duration = Duration::from_secs(8);
/// A refusal passes only when someone changes the token.
const REFUSED_RETRY: Duration = Duration::from_secs(15);

#[must_use]
pub fn start(client: Client) -> Feed {
    Feed::start(|ends| async move {
        let Ends { messages, mailbox, wants, asks } = ends;
        let mut tasks = JoinSet::new();
        tasks.spawn(stats(client.clone(), messages.clone()));
        tasks.spawn(log(client.clone(), messages.clone()));
        tasks.spawn(pages::run(client.clone(), wants.clone(), messages.clone()));
        tasks.spawn(events::run(client.clone(), wants, mailbox, messages.clone()));
        tasks.spawn(requests::run(client, asks, messages));
        while tasks.join_next().await.is_some() {}
    })
}

/// Sends, and ends the task when the loop is gone.
async fn tell(messages: &mpsc::Sender<Message>, feed: FeedMessage) -> Result<(), ()> {
    messages.send(Message::Feed(feed)).await.map_err(|_| ())
}

async fn stats(client: Client, messages: mpsc::Sender<Message>) {
    let mut failures = 0;
    loop {
        let mut stream = client.stats_stream();
        let error = loop {
            match tokio::time::timeout(SILENCE_MAX, stream.next()).await {
                Err(_) => break Ended::Lost(format!("no report for {} s", SILENCE_MAX.as_secs())),
                Ok(None) => break Ended::Lost("the stream ended".into()),
                Ok(Some(Ok(Stream::Connected))) => {
                    if tell(&messages, FeedMessage::Connection(Connection::Connected)).await.is_err() {
                        return;
                    }
                }
                Ok(Some(Ok(Stream::Item(stats)))) => {
                    failures = 0;
                    if tell(&messages, FeedMessage::Stats(Box::new(stats))).await.is_err() {
                        return;
                    }
                }
                Ok(Some(Ok(Stream::Disconnected { error, .. }) | Err(error))) => break Ended::of(&error),
            }
        };
        drop(stream);
        failures += 1;
        let (connection, delay) = match error {
            Ended::Lost(why) => {
                let delay = retry_delay(failures, rand::rng().random_range(0.8..1.2));
                (Connection::Retrying { attempt: failures, at_ms: due(delay), why }, delay)
            }
            Ended::Refused(why) => (Connection::Refused { at_ms: due(REFUSED_RETRY), why }, REFUSED_RETRY),
        };
        if tell(&messages, FeedMessage::Connection(connection)).await.is_err() {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}

enum Ended {
    Lost(String),
    Refused(String),
}

impl Ended {
    fn of(error: &Error) -> Self {
        match error {
            Error::Unauthorized(_) | Error::Config(_) => Self::Refused(error.to_string()),
            _ => Self::Lost(error.to_string()),
        }
    }
}

fn due(delay: Duration) -> i64 {
    clock::now_ms().saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
}

/// Doubles from the shortest to the longest, never past it.
fn retry_delay(failures: u32, jitter: f64) -> Duration {
    let doubled = RETRY_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10));
    doubled.min(RETRY_MAX).mul_f64(jitter)
}

/// The log from its start as far as the server keeps it, then as it grows.
async fn log(client: Client, messages: mpsc::Sender<Message>) {
    let mut after = None;
    let mut failures = 0;
    loop {
        let error = match client.log(after).await {
            Err(error) => error,
            Ok(page) => {
                after = page.items.last().map(|entry| entry.id).or(after);
                if tell(&messages, FeedMessage::Log(page.items)).await.is_err() {
                    return;
                }
                let mut stream = client.log_stream(after);
                loop {
                    match stream.next().await {
                        Some(Ok(Stream::Connected)) => failures = 0,
                        Some(Ok(Stream::Item(entry))) => {
                            // A server that started anew counts from one again.
                            after = Some(entry.id);
                            if tell(&messages, FeedMessage::Log(vec![entry])).await.is_err() {
                                return;
                            }
                        }
                        Some(Ok(Stream::Disconnected { error, .. }) | Err(error)) => break error,
                        None => break Error::Config("the log stream ended".into()),
                    }
                }
            }
        };
        if tell(&messages, FeedMessage::Failed(Topic::Log, failure(error))).await.is_err() {
            return;
        }
        failures += 1;
        tokio::time::sleep(retry_delay(failures, 1.0)).await;
    }
}

/// What the operator can do about an error of the client.
fn failure(error: Error) -> Failure {
    let why = error.to_string();
    match error {
        Error::Unauthorized(problem) => Failure { kind: FailureKind::Refused, why, problem: Some(problem) },
        Error::Problem(problem) => {
            let kind = match problem.status {
                // An evs server names what is missing; a missing route has no code.
                404 | 405 | 501 if problem.code.is_empty() => FailureKind::Unsupported,
                404 => FailureKind::NotFound,
                400..=499 => FailureKind::Rejected,
                _ => FailureKind::Unreachable,
            };
            Failure { kind, why, problem: Some(problem) }
        }
        _ => Failure { kind: FailureKind::Unreachable, why, problem: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_start_short_and_stop_growing() {
        let delays: Vec<_> = (1..8).map(|n| retry_delay(n, 1.0).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(retry_delay(u32::MAX, 1.0), RETRY_MAX);
    }
}
