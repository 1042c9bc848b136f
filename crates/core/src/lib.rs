//! The heart of evs: what an event, a filter, a match and a delivery are.
//!
//! Nothing here does I/O, awaits or reads a clock, so everything can be held to an obvious model by property tests.
//! In reading order: [`ids`] name things, an [`Event`] is immutable JSON, a [`Filter`] says which events a subscriber
//! wants, [`index`] finds the filters of an event, [`log`] is the packed delivery log and its fold, a [`Cursor`] is
//! where a consumer stands, [`limits`] bounds it all.

#[cfg(test)]
extern crate self as evs_core;

pub mod cursor;
pub mod event;
pub mod filter;
pub mod ids;
pub mod index;
pub mod limits;
pub mod log;
pub mod trace;

pub use cursor::Cursor;
pub use event::Event;
pub use filter::Filter;
pub use ids::*;
pub use trace::Trace;
