//! The evs server: the roles api, matcher and gateway over three ports.
//!
//! `main` parses the [`cli`], [`run`] starts the roles: [`http`] (REST), [`matcher`] with its [`keeper`], and
//! [`gateway`]. They meet only at the [`ports`], whose backends are chosen in [`backend`]. The [`reader`] follows the
//! delivery log for everybody in the process.

#![forbid(unsafe_code)]

pub mod app;
pub mod auth;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
mod door;
pub mod gateway;
mod health_client;
pub mod http;
pub mod instances;
pub mod keeper;
pub mod limits;
pub mod matcher;
pub mod metrics;
pub mod notices;
pub mod oplog;
mod outbound;
pub mod ports;
pub mod reader;
pub mod retry;
pub mod run;
pub mod spec;
pub mod traces;
