//! What an application does with the items of a stream: it stores its effect together with the cursor, then acks.

use std::sync::{Arc, Mutex};

use evs_client::api::frames::{Gap, GapReason};
use evs_client::{StreamItem, Subscription};
use serde_json::Value;

use crate::checker::Received;

#[derive(Debug, Default)]
pub(crate) struct Application {
    /// Whether the retention may cut its queue.
    pub(crate) cut: bool,
    /// What to come back with after a crash.
    pub(crate) cursor: Option<String>,
}

impl Application {
    pub(crate) fn handle(&mut self, item: &StreamItem, deliveries: &Subscription, received: &Arc<Mutex<Received>>) {
        match item {
            StreamItem::Event(delivery) => {
                let event: Value = serde_json::from_str(delivery.data.get()).unwrap();
                received.lock().unwrap().ids.push(event["n"].as_u64().unwrap());
                self.cursor = deliveries.cursor();
                deliveries.ack(delivery);
            }
            StreamItem::Gap(gap) => {
                self.cursor = deliveries.cursor();
                let mut received = received.lock().unwrap();
                match gap {
                    Gap { from, to: Some(to), reason: GapReason::Retention } if self.cut => {
                        received.cut += to + 1 - from
                    }
                    _ => received.gaps.push(format!("{gap:?}")),
                }
            }
            StreamItem::Connected(_) | StreamItem::Checkpoint { .. } | StreamItem::CaughtUp => {
                self.cursor = deliveries.cursor();
            }
            StreamItem::Notice { .. } | StreamItem::Disconnected { .. } => {}
        }
    }
}
