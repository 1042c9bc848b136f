//! The client against a tiny server on a real socket, for what a real evs server does rarely: losses, holes, refusals.

mod feeds;
mod peer;
mod streams;
