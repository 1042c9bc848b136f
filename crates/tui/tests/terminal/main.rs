//! The real binary in a real (pseudo) terminal.

mod demo;
mod pty;
mod server;
