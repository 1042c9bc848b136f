//! The dashboard on the demo in virtual time: for tests, pictures and measurements. Nothing waits.

use super::{Config, World};
use crate::app::{App, Settings};
use crate::keymap::{Chord, Keymap};
use crate::message::{Connection, Effect, FeedMessage, Message};

/// 2026-01-01T00:00:00Z.
pub const START_MS: i64 = 1_767_225_600_000;
const STEP_MS: i64 = 100;
/// Fewer than the demo has: each is matched against every filter.
const EVENTS_PER_S: f64 = 60.0;

#[derive(Debug)]
pub struct Stage {
    pub app: App,
    pub world: World,
    pub now_ms: i64,
    /// Effects that the stage does not act on, in order.
    pub effects: Vec<Effect>,
    /// Whether messages of the server arrive.
    pub online: bool,
}

impl Stage {
    #[must_use]
    pub fn new(settings: Settings, size: (u16, u16)) -> Self {
        let app = App::new(settings, Keymap::default(), START_MS, size);
        let world = World::new(Config { events_per_s: EVENTS_PER_S, ..Config::default() }, START_MS);
        Self { app, world, now_ms: START_MS, effects: Vec::new(), online: true }
    }

    /// A demo that has been running for a while, connected.
    #[must_use]
    pub fn running(settings: Settings, size: (u16, u16), seconds: i64) -> Self {
        let mut stage = Self::new(settings, size);
        stage.send(Message::Feed(FeedMessage::Connection(Connection::Connected)));
        stage.wait(seconds * 1000);
        stage
    }

    pub fn send(&mut self, message: Message) {
        self.app.update(Message::Tick(self.now_ms));
        let mut effects = self.app.update(message);
        while !effects.is_empty() {
            let mut next = Vec::new();
            for effect in effects {
                match effect {
                    Effect::Ask(number, ask) if self.online => {
                        let answer = self.world.answer(ask);
                        next.extend(self.app.update(Message::Answer(number, answer)));
                    }
                    other => self.effects.push(other),
                }
            }
            effects = next;
        }
    }

    /// Keys as the keymap writes them, with spaces between; `"text"` in quotes is typed.
    ///
    /// # Panics
    /// If a key is unknown.
    pub fn press(&mut self, keys: &str) {
        for (at, part) in keys.split('"').enumerate() {
            if at % 2 == 1 {
                for c in part.chars() {
                    let key = if c == ' ' { "space".to_owned() } else { c.to_string() };
                    self.send(Message::Key(Chord::parse(&key).expect("one character is a key")));
                }
            } else {
                for key in part.split_whitespace() {
                    self.send(Message::Key(Chord::parse(key).expect("a key of the keymap")));
                    self.turn();
                }
            }
        }
        self.turn();
    }

    /// Lets the time pass.
    pub fn wait(&mut self, ms: i64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms += STEP_MS.min(end - self.now_ms);
            self.turn();
        }
        self.app.update(Message::Tick(self.now_ms));
    }

    fn turn(&mut self) {
        if self.online {
            let wants = self.app.wants();
            for message in self.world.step(self.now_ms, &wants) {
                self.send(Message::Feed(message));
            }
        }
    }
}
