//! The implementations of the ports, chosen at run time by URL scheme.

pub mod memory;
