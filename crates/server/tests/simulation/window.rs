//! What a consumer has handled since its last checkpoint: after an epoch change it may come again.
//!
//! A cursor is valid across epochs at a checkpoint; between two of them it knows its seq alone. So when the delivery
//! queue was rolled back or lost, an application sees again what came after its last checkpoint, and knows it by
//! `event_id`. Nothing older may come again, and nothing at all within an epoch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use evs_client::{StreamItem, Subscription};
use serde_json::Value;

use crate::checker::Received;

#[derive(Debug, Default)]
pub(crate) struct Window {
    epoch: String,
    handled: HashMap<u64, String>,
    /// What to come back with after a crash.
    pub(crate) cursor: Option<String>,
    /// How often something of the window came again.
    pub(crate) repeated: u64,
}

impl Window {
    /// Does what an application does with an item: stores the effect with the cursor, then acks.
    pub(crate) fn handle(&mut self, item: &StreamItem, deliveries: &Subscription, received: &Arc<Mutex<Received>>) {
        match item {
            StreamItem::Connected(welcome) => self.epoch.clone_from(&welcome.epoch),
            StreamItem::Event(delivery) => {
                let event: Value = serde_json::from_str(delivery.data.get()).unwrap();
                let id = event["n"].as_u64().unwrap();
                let before = self.handled.insert(id, self.epoch.clone());
                if before.is_some_and(|epoch| epoch != self.epoch) {
                    self.repeated += 1;
                } else {
                    received.lock().unwrap().ids.push(id);
                }
                self.cursor = deliveries.cursor();
                deliveries.ack(delivery);
            }
            StreamItem::Gap(gap) => {
                self.cursor = deliveries.cursor();
                // A gap of unknown size says only that nothing more can be said; what is missing is counted.
                if gap.to.is_some() {
                    received.lock().unwrap().gaps.push(format!("{gap:?}"));
                }
            }
            StreamItem::Checkpoint { .. } => {
                self.cursor = deliveries.cursor();
                self.handled.clear();
            }
            StreamItem::CaughtUp | StreamItem::Notice { .. } | StreamItem::Disconnected { .. } => {}
        }
    }
}
