//! Where the data comes from: a server, the demo, or a recorded file. Everything reaches the loop through bounded ways.
//!
//! What must not be lost (pages, states, answers) goes through a small channel that its senders wait for. Events go
//! through the [`Mailbox`], which drops the oldest and counts, so that the screen never falls behind.

pub mod demo;
pub mod mailbox;
pub mod recording;
pub mod replay;
pub mod server;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use mailbox::Mailbox;

use crate::message::{Ask, Message, Wants};

/// Messages that wait for the loop, which takes all of them at each turn.
const MESSAGES_MAX: usize = 64;
/// Requests under way or waiting; more is a stuck server, and the operator is told.
const ASKS_MAX: usize = 16;

/// The loop's end of a feed. Dropping it ends the feed's tasks.
#[derive(Debug)]
pub struct Feed {
    pub messages: mpsc::Receiver<Message>,
    pub mailbox: Arc<Mailbox>,
    /// Writes down what arrives.
    pub recorder: Option<recording::Recorder>,
    wants: watch::Sender<Wants>,
    asks: mpsc::Sender<(u64, Ask)>,
    _tasks: JoinSet<()>,
}

/// The feed's end.
#[derive(Debug)]
pub struct Ends {
    pub messages: mpsc::Sender<Message>,
    pub mailbox: Arc<Mailbox>,
    pub wants: watch::Receiver<Wants>,
    pub asks: mpsc::Receiver<(u64, Ask)>,
}

impl Feed {
    /// Starts `task` with its ends.
    pub fn start<F>(task: impl FnOnce(Ends) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (messages_in, messages) = mpsc::channel(MESSAGES_MAX);
        let (wants, wants_out) = watch::channel(Wants::default());
        let (asks, asks_out) = mpsc::channel(ASKS_MAX);
        let mailbox = Arc::new(Mailbox::default());
        let ends = Ends { messages: messages_in, mailbox: mailbox.clone(), wants: wants_out, asks: asks_out };
        let mut tasks = JoinSet::new();
        tasks.spawn(task(ends));
        Self { messages, mailbox, recorder: None, wants, asks, _tasks: tasks }
    }

    /// Tells what the screen needs, if that changed.
    pub fn want(&self, wants: Wants) {
        self.wants.send_if_modified(|old| {
            let changed = *old != wants;
            if changed {
                *old = wants;
            }
            changed
        });
    }

    /// # Errors
    /// If too many requests are under way.
    pub fn ask(&self, number: u64, ask: Ask) -> Result<(), String> {
        self.asks.try_send((number, ask)).map_err(|_| "too many requests are waiting for the server".to_owned())
    }
}
