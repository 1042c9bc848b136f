//! The gateway through its port, over stores in memory.

mod bed;
mod delivery;
mod manners;
mod resume;
mod streams;
mod transcript;
