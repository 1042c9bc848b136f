//! The contract of the three ports as plain functions, and for every backend the list of them.
//!
//! A backend is added by one module with a function that makes an empty store, and one line per port:
//! `delivery_queue_contract!(make);`. What `make` answers beside the port lives as long as the test.

#[macro_use]
mod delivery_queue;
#[macro_use]
mod event_log;
#[macro_use]
mod filter_store;

mod memory;
mod sqlite;
