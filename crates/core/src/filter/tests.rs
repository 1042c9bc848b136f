//! The language by example: what reads, what it means, what is refused and with which words.

mod explanations;
mod fields;
mod meaning;
mod never;
mod properties;
