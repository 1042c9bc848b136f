//! The evs server: the roles api, matcher and gateway over three ports.

pub mod app;
pub mod auth;
pub mod backend;
pub mod clock;
pub mod config;
pub mod http;
pub mod limits;
pub mod metrics;
pub mod oplog;
pub mod ports;
pub mod reader;
