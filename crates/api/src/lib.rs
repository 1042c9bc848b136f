//! What evs says over HTTP and WebSocket.
//!
//! The rule of this crate: **additive only**. A field is added as optional, never renamed, retyped or removed; a
//! reader ignores fields it does not know. Requests that create things refuse unknown fields, so that a typo is told.

#![forbid(unsafe_code)]

pub mod dead_letters;
pub mod error;
pub mod events;
pub mod explain;
pub mod filters;
pub mod frames;
pub mod oplog;
pub mod page;
pub mod stats;
pub mod subscribers;
pub mod tickets;
pub mod tokens;

pub use error::Problem;
pub use page::Page;
