//! `/subscribers`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A row of `GET /subscribers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Subscriber {
    pub id: String,
    pub state: SubscriberState,
    pub filters: u32,
    /// Of its consumers; who only observes is not counted.
    pub connections: u32,
    /// Deliveries written to its queue so far, in this epoch.
    pub top: u64,
    /// Acked by every consumer.
    pub acked: u64,
    pub lag_events: u64,
    /// Age of the oldest delivery that is not acked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_s: Option<f64>,
    pub delivered_per_s: f64,
    /// Until retention drops what it has not read, at the present rate; absent where nothing is at risk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_loss_in_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ack_ms: Option<i64>,
    /// Deliveries lost to retention so far.
    #[serde(default)]
    pub lost: u64,
    pub shard: u16,
    pub slot: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriberState {
    /// Connected and caught up.
    Live,
    /// Connected and behind.
    Slow,
    /// Not connected, and has been before.
    Away,
    /// Never connected.
    New,
}

/// `GET /subscribers/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubscriberDetail {
    #[serde(flatten)]
    pub subscriber: Subscriber,
    pub epoch: String,
    pub consumers: Vec<Consumer>,
    pub filter_ids: Vec<u32>,
    /// Deliveries that left the hot window unacked and wait in the subscriber's own queue.
    pub spilled: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Consumer {
    pub name: String,
    pub acked: u64,
    pub lag_events: u64,
    pub connected: bool,
    /// Opaque; give it as `?cursor=` to resume there.
    pub cursor: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_ack_ms: Option<i64>,
}
