//! The language by example: what reads, what it means, what is refused and with which words.

mod meaning;
mod properties;
