//! Several server processes on real Kafka, Redis and PostgreSQL: what they show of each other, what they do while one of
//! the stores is away, and TLS to all of them.

mod bed;
mod gateways;
mod kafka;
mod memory_loss;
mod own;
#[path = "../support/poll.rs"]
mod poll;
mod postgres;
mod stats;
mod tls;
