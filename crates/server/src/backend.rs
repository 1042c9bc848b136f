//! The backends of the three ports: chosen here and nowhere else.

pub mod sqlite;
