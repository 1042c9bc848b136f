//! The backends of the three ports: chosen here and nowhere else.

pub mod memory;
#[cfg(feature = "distributed")]
pub mod redis;
pub mod sqlite;
