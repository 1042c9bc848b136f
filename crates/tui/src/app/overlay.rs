//! What lies over a screen: help, an explanation, a text, the filter form, a question.

use evs_api::explain::Explanation;

use super::form::FilterForm;
use crate::input::Input;
use crate::list::Move;
use crate::message::{Ask, Failure};

#[derive(Clone, Debug)]
pub enum Overlay {
    Help(Help),
    Text(Text),
    Why(Why),
    Form(Box<FilterForm>),
    Confirm(Confirm),
}

/// The keys, searched as you type.
#[derive(Clone, Debug, Default)]
pub struct Help {
    pub find: Input,
    pub scroll: Scroll,
}

#[derive(Clone, Debug)]
pub struct Text {
    pub title: String,
    pub text: String,
    pub scroll: Scroll,
}

/// Why a subscriber did or did not get an event.
#[derive(Clone, Debug)]
pub struct Why {
    pub ask: u64,
    pub subscriber: String,
    pub event: String,
    pub answer: Option<Result<Box<Explanation>, Failure>>,
    pub scroll: Scroll,
}

#[derive(Clone, Debug)]
pub struct Confirm {
    pub question: String,
    /// What exactly will happen.
    pub detail: String,
    pub ask: Ask,
}

/// How far a text is scrolled. The end is only known when it is drawn, so the view writes it here.
#[derive(Clone, Debug, Default)]
pub struct Scroll {
    pub top: u16,
    pub height: std::cell::Cell<u16>,
    pub last: std::cell::Cell<u16>,
}

impl Scroll {
    pub fn step(&mut self, by: Move) {
        let page = self.height.get().saturating_sub(1).max(1);
        let top = self.top.min(self.last.get());
        let rows = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let to = match by {
            Move::Up(n) => top.saturating_sub(rows(n)),
            Move::Down(n) => top.saturating_add(rows(n)),
            Move::PageUp => top.saturating_sub(page),
            Move::PageDown => top.saturating_add(page),
            Move::Top => 0,
            Move::Bottom => u16::MAX,
        };
        self.top = to.min(self.last.get());
    }

    /// Tells what was drawn, and where to start.
    pub fn window(&self, lines: usize, height: u16) -> u16 {
        let last = u16::try_from(lines).unwrap_or(u16::MAX).saturating_sub(height);
        self.height.set(height);
        self.last.set(last);
        self.top.min(last)
    }
}
