//! The gateway through its port, over stores in memory.

mod bed;
mod delivery;
mod manners;
#[path = "../support/poll.rs"]
mod poll;
mod resume;
mod streams;
mod transcript;
