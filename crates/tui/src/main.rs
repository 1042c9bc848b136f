//! `evs-tui`.
fn main() {}
