//! The laws of the index once more, with bounds so small that a few filters split and join leaves, share pairs, run out of
//! fields and leave readers behind. As tests of their own they hold at the usual sizes.

#[path = "../../tests/index_concurrent.rs"]
mod concurrent;
#[path = "../../tests/index_laws.rs"]
mod laws;
#[path = "../../tests/index.rs"]
mod oracle;
