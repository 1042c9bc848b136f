//! The obvious model of the three ports: plain collections under one mutex, for tests and for the simulation.
//!
//! Simple and slow on purpose: the other backends are held to what these answer. Nothing survives the process.

mod filters;
mod log;
mod queue;
mod turns;

pub use filters::MemoryFilters;
pub use log::MemoryLog;
pub use queue::{Image, MemoryQueue};
