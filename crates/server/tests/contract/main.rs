//! The contract of the three ports as plain functions, and for every backend the list of them.
//!
//! A backend is added by one module with a function that makes an empty store, and one line per port:
//! `delivery_queue_contract!(make);`. Backends on a service carry `#[ignore = "…"]`, so that plain `cargo test` counts
//! them as ignored, loudly, and `scripts/test`, which starts the services, runs them with `--include-ignored`.
//! What `make` answers beside the port lives as long as the test.

#[macro_use]
mod delivery_queue;
#[macro_use]
mod event_log;
#[macro_use]
mod filter_store;

mod kafka;
mod memory;
mod postgres;
mod redis;
mod redis_faults;
mod same_answers;
mod services;
mod sqlite;
