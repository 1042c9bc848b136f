//! The REST API through its port: a story per resource, a table of bad requests, the door, and two tenants.

mod auth;
mod bad_requests;
mod dead_letters;
mod doors;
#[path = "../support/embedded.rs"]
mod embedded;
mod events;
mod expiry;
mod filters;
mod harness;
mod limits;
mod openapi;
mod operations;
mod operations_files;
#[path = "../support/poll.rs"]
mod poll;
mod revocation;
mod security_md;
mod subscribers;
mod tenants;
mod traces;
