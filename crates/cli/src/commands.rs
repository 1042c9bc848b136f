//! A module for each command, with its flags and what it does.

pub(crate) mod auth;
pub(crate) mod bench;
pub(crate) mod config;
pub(crate) mod context;
pub(crate) mod dev;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod filter;
pub(crate) mod manual;
pub(crate) mod produce;
pub(crate) mod stats;
pub(crate) mod subscribers;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod top;

pub(crate) use filter::compile;
pub(crate) use filter::read_text as filter_text;
pub(crate) use produce::{LatencySummary, histogram_us, now_ms};
