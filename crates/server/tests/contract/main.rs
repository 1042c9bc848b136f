//! The contract of the three ports as plain functions, and for every backend the list of them.
//!
//! A backend is added by one module with a function that makes an empty store, and one line per port:
//! `delivery_queue_contract!(make);`. Backends on a service are compiled with the feature `test-services`, which
//! `scripts/test` turns on when it has started the services; a service that is not there is then a failure.
//! What `make` answers beside the port lives as long as the test.

#[cfg(feature = "test-services")]
#[path = "../support/poll.rs"]
mod poll;
#[macro_use]
mod delivery_queue;
#[macro_use]
mod event_log;
#[macro_use]
mod filter_store;

#[cfg(feature = "test-services")]
mod kafka;
#[cfg(feature = "test-services")]
mod kafka_pressure;
#[cfg(feature = "test-services")]
mod kafka_records;
mod memory;
#[cfg(feature = "test-services")]
mod postgres;
#[cfg(feature = "test-services")]
mod redis;
#[cfg(feature = "test-services")]
mod redis_faults;
#[cfg(feature = "test-services")]
mod same_answers;
#[cfg(feature = "test-services")]
mod services;
mod sqlite;
