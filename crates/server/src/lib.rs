//! The evs server: the roles api, matcher and gateway over three ports.

pub mod app;
pub mod clock;
pub mod config;
pub mod metrics;
pub mod oplog;
pub mod ports;
pub mod reader;
