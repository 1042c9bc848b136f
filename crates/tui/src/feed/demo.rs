//! The demo as a feed: the world steps ten times a second.

use std::time::Duration;

use super::{Ends, Feed};
use crate::clock;
use crate::demo::{Config, World};
use crate::message::{Connection, FeedMessage, Message};

const STEP: Duration = Duration::from_millis(100);

#[must_use]
pub fn start(config: Config) -> Feed {
    Feed::start(|ends| run(config, ends))
}

async fn run(config: Config, mut ends: Ends) {
    // A minute of the past, so that the charts have something to show at once.
    let now = clock::now_ms();
    let mut world = World::new(config, now);
    if ends.messages.send(Message::Feed(FeedMessage::Connection(Connection::Connected))).await.is_err() {
        return;
    }
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut query = None;
    loop {
        tokio::select! {
            asked = ends.asks.recv() => {
                let Some((number, ask)) = asked else { return };
                if ends.messages.send(Message::Answer(number, world.answer(ask))).await.is_err() {
                    return;
                }
            }
            changed = ends.wants.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            _ = steps.tick() => {}
        }
        let wants = ends.wants.borrow_and_update().clone();
        if wants.events != query {
            query.clone_from(&wants.events);
            if let Some(query) = &query {
                ends.mailbox.open(query);
            }
        }
        for message in world.step(clock::now_ms(), &wants) {
            match message {
                FeedMessage::Events(query, events) => {
                    for event in events {
                        ends.mailbox.put(&query, event);
                    }
                }
                other => {
                    if ends.messages.send(Message::Feed(other)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}
