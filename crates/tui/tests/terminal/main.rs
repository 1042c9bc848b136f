//! The real binary in a real (pseudo) terminal.

mod contexts;
mod demo;
mod pty;
mod recordings;
mod server;
