//! Actions on events: why, copy, search in the detail.

use super::overlay::{Overlay, Scroll, Why};
use super::prompt::PromptKind;
use super::screens::LookedUp;
use super::{App, Screen};
use evs_api::events::EventHeader;

use crate::data::EventRow;
use crate::message::{Answer, Ask, Connection, Effect, EventsQuery, Failure, Headers, Incoming};
use crate::theme::Role;
use crate::{format, json};

/// What names an event for `GET /explain`: its position, or else its own id.
#[must_use]
pub fn event_name(row: &EventRow) -> Option<String> {
    row.event.position.clone().or_else(|| {
        let [id] = json::fields(&row.event.json, ["event_id"]);
        Some(id).filter(|id| !id.is_empty())
    })
}

/// What the detail shows below its head: the event, and then its headers.
#[must_use]
pub fn detail_lines(event: &Incoming, headers: Option<&Headers>) -> Vec<json::Line> {
    let mut lines = json::pretty(&event.json);
    let Some(headers) = headers else { return lines };
    lines.push(json::Line::new());
    lines.push(vec![(Role::Title, "headers of its record".into())]);
    for EventHeader { name, value, value_base64, cut_from_bytes } in &headers.headers {
        let mut line = vec![(Role::JsonKey, printable(name)), (Role::Muted, ": ".into())];
        match (value, value_base64) {
            (Some(value), _) => line.push((Role::JsonString, printable(value))),
            (None, Some(bytes)) => line.extend([(Role::Muted, "base64 ".into()), (Role::JsonString, bytes.clone())]),
            (None, None) => line.push((Role::Muted, "(no value)".into())),
        }
        if let Some(bytes) = cut_from_bytes {
            line.push((Role::Muted, format!(" (cut from {})", format::bytes(*bytes))));
        }
        lines.push(line);
    }
    if headers.left_out > 0 {
        lines.push(vec![(Role::Muted, format!("and {} more", headers.left_out))]);
    }
    lines
}

/// A header is any text: what would move the cursor is shown as an escape.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

impl App {
    /// What came with the event, or was looked up.
    #[must_use]
    pub fn headers_of<'a>(&'a self, event: &'a Incoming) -> Option<&'a Headers> {
        let looked_up = &self.events.looked_up;
        let found = (event.position.as_ref() == Some(&looked_up.position)).then_some(looked_up.headers.as_deref());
        event.headers.as_deref().or(found.flatten())
    }

    /// Asks for the headers of the event that is read, where its stream brings none. An event that is only passing by is
    /// not asked for.
    pub(super) fn look_up_headers(&mut self) -> Vec<Effect> {
        let view = &self.events;
        let reads = *self.screen() == Screen::Events && view.detail && view.held.is_some();
        let may_ask = view.looked_up.ask.is_none() && self.connection == Connection::Connected;
        if !reads || !may_ask || view.query.subscriber.is_none() {
            return Vec::new();
        }
        let Some(position) = self.selected_event().and_then(|row| row.event.position.clone()) else {
            return Vec::new();
        };
        if position == self.events.looked_up.position {
            return Vec::new();
        }
        let (ask, effects) = self.ask(Ask::Event(position.clone()));
        self.events.looked_up = LookedUp { ask: Some(ask), position, headers: None };
        effects
    }

    /// The answer to that. A log that has not kept the event has no headers either.
    pub(super) fn looked_up(&mut self, answer: Result<Answer, Failure>) {
        let found = if let Ok(Answer::Event(Some(event))) = answer { Incoming::from(*event).headers } else { None };
        (self.events.looked_up.ask, self.events.looked_up.headers) = (None, found);
    }

    pub(super) fn explain(&mut self) -> Vec<Effect> {
        let Some(row) = self.selected_event() else { return Vec::new() };
        let Some(event) = event_name(&row) else {
            self.complain("this event has neither a position nor an event_id to ask for");
            return Vec::new();
        };
        // The event must not run away while the answer is read.
        if self.events.held.is_none() {
            self.hold_events();
        }
        match self.events.query.subscriber.clone() {
            Some(subscriber) => self.ask_why(subscriber, event),
            None => {
                self.open_prompt(PromptKind::Why { event });
                Vec::new()
            }
        }
    }

    pub(super) fn ask_why(&mut self, subscriber: String, event: String) -> Vec<Effect> {
        self.events.why_subscriber.clone_from(&subscriber);
        let (ask, effects) = self.ask(Ask::Explain { subscriber: subscriber.clone(), event: event.clone() });
        self.overlay = Some(Overlay::Why(Why { ask, subscriber, event, answer: None, scroll: Scroll::default() }));
        effects
    }

    /// Shows the events of a subscriber, or of a condition.
    pub(super) fn watch_events(&mut self, query: EventsQuery) {
        self.events.query = query;
        self.events.find = crate::find::Find::default();
        self.events.detail = false;
        self.follow();
        self.go(Screen::Events);
    }

    /// To the next place in the detail that the filter finds.
    pub(super) fn search(&mut self, forward: bool) {
        let Some(row) = self.selected_event() else { return };
        if self.events.held.is_none() {
            self.hold_events();
        }
        let lines = detail_lines(&row.event, self.headers_of(&row.event));
        let found: Vec<usize> = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| !self.events.find.found(&json::text(line)).is_empty())
            .map(|(at, _)| at)
            .collect();
        if found.is_empty() {
            self.say("not found in this event");
            return;
        }
        let n = found.len();
        let at = self.events.found_at % n;
        self.events.found_at = if forward { (at + 1) % n } else { (at + n - 1) % n };
        let line = found[self.events.found_at];
        self.events.detail_scroll = u16::try_from(line).unwrap_or(u16::MAX);
        let place = self.events.found_at + 1;
        self.say(format!("{place} of {n} lines"));
    }

    /// The id of an event as `y` copies it.
    pub(super) fn event_id(row: &EventRow) -> String {
        let [id] = json::fields(&row.event.json, ["event_id"]);
        if id.is_empty() { row.event.position.clone().unwrap_or_else(|| row.n.to_string()) } else { id }
    }
}
