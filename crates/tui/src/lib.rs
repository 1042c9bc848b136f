//! The evs terminal dashboard, in Elm order.
//!
//! A [`message::Message`] goes into [`app::App::update`], which changes the model and gives [`message::Effect`]s;
//! [`view::view`] draws the model. Neither does I/O nor reads a clock. [`run`] is the loop around them, [`feed`] brings
//! the data (from a server, a demo or a file), [`terminal`] owns the terminal and gives it back.

#![forbid(unsafe_code)]

pub mod app;
pub mod args;
pub mod clipboard;
pub mod clock;
pub mod config;
pub mod data;
pub mod demo;
pub mod expression;
pub mod feed;
pub mod find;
pub mod format;
pub mod input;
pub mod json;
pub mod keymap;
pub mod list;
pub mod message;
pub mod pace;
pub mod persist;
pub mod run;
pub mod symbols;
pub mod target;
pub mod terminal;
pub mod theme;
pub mod view;
