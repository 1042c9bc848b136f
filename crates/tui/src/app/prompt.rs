//! The line at the bottom: the `/` filter, a condition, the command palette, whose "why".

use super::columns::{self, SUBSCRIBER_COLUMNS};
use super::{App, Screen};
use crate::expression::{self, Mistake};
use crate::find::Find;
use crate::input::Input;
use crate::keymap::{Action, BINDINGS, Chord};
use crate::message::{Effect, EventsQuery};
use crate::theme::{THEMES, Theme};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptKind {
    Find,
    Where,
    Palette,
    /// Whose "why", and of which event.
    Why {
        event: String,
    },
}

#[derive(Clone, Debug)]
pub struct Prompt {
    pub kind: PromptKind,
    pub input: Input,
    /// What is wrong with the text so far.
    pub mistake: Option<Mistake>,
}

impl App {
    pub(super) fn open_prompt(&mut self, kind: PromptKind) {
        let text = match &kind {
            PromptKind::Find => self.find().map(|f| f.text().to_owned()).unwrap_or_default(),
            PromptKind::Where => self.events.query.where_.clone().unwrap_or_default(),
            // Whom it was last asked for is offered, not typed: another name would be added to it.
            PromptKind::Palette | PromptKind::Why { .. } => String::new(),
        };
        self.prompt = Some(Prompt { kind, input: Input::new(&text), mistake: None });
        self.prompt_changed();
    }

    /// The `/` filter of the screen.
    #[must_use]
    pub fn find(&self) -> Option<&Find> {
        Some(match self.screen() {
            Screen::Subscribers => &self.subscribers.find,
            Screen::Events => &self.events.find,
            Screen::Filters => &self.filters.find,
            Screen::Log => &self.log.find,
            Screen::DeadLetters => &self.dead_letters.find,
            Screen::Overview | Screen::Subscriber(_) | Screen::Cluster => return None,
        })
    }

    pub(super) fn set_find(&mut self, text: &str) {
        let find = Find::new(text);
        match self.screen() {
            Screen::Subscribers => {
                self.subscribers.find = find;
                self.subscribers.pages.first();
            }
            Screen::Events => {
                self.events.find = find;
                self.events.found_at = 0;
            }
            Screen::Filters => self.filters.find = find,
            Screen::Log => self.log.find = find,
            Screen::DeadLetters => self.dead_letters.find = find,
            Screen::Overview | Screen::Subscriber(_) | Screen::Cluster => {}
        }
    }

    pub(super) fn prompt_key(&mut self, chord: Chord) -> Vec<Effect> {
        let Some(kind) = self.prompt.as_ref().map(|p| p.kind.clone()) else { return Vec::new() };
        match self.keymap.action(self.contexts(), chord) {
            Some(Action::Cancel) => {
                if kind == PromptKind::Find {
                    self.set_find("");
                }
                self.prompt = None;
            }
            Some(Action::Accept) => return self.accept_prompt(kind),
            Some(Action::Complete) => self.complete(),
            Some(Action::InputOlder) => self.recall(&kind, true),
            Some(Action::InputNewer) => self.recall(&kind, false),
            _ => {
                if self.prompt.as_mut().is_some_and(|p| p.input.key(chord)) {
                    self.prompt_changed();
                }
            }
        }
        Vec::new()
    }

    /// The filter acts while it is typed; a condition is checked while it is typed.
    pub(super) fn prompt_changed(&mut self) {
        let Some(prompt) = &mut self.prompt else { return };
        let text = prompt.input.text().to_owned();
        match prompt.kind {
            PromptKind::Find => self.set_find(&text),
            PromptKind::Where => prompt.mistake = expression::check(text.trim()).err(),
            PromptKind::Palette | PromptKind::Why { .. } => {}
        }
    }

    fn accept_prompt(&mut self, kind: PromptKind) -> Vec<Effect> {
        let Some(prompt) = self.prompt.take() else { return Vec::new() };
        let text = prompt.input.text().trim().to_owned();
        match kind {
            PromptKind::Find => self.find_history.push(&text),
            PromptKind::Where => {
                if prompt.mistake.is_some() {
                    // It stays open: what was typed is not thrown away.
                    self.prompt = Some(prompt);
                    return Vec::new();
                }
                self.where_history.push(&text);
                self.set_condition(Some(text).filter(|t| !t.is_empty()));
            }
            PromptKind::Palette => {
                self.palette_history.push(&text);
                return self.run_command(&text);
            }
            PromptKind::Why { event } => {
                let subscriber = if text.is_empty() { self.events.why_subscriber.clone() } else { text };
                if !subscriber.is_empty() {
                    return self.ask_why(subscriber, event);
                }
            }
        }
        Vec::new()
    }

    pub(super) fn set_condition(&mut self, condition: Option<String>) {
        self.events.query.where_ = condition;
        self.follow();
    }

    fn recall(&mut self, kind: &PromptKind, older: bool) {
        let history = match kind {
            PromptKind::Find => &mut self.find_history,
            PromptKind::Where => &mut self.where_history,
            PromptKind::Palette | PromptKind::Why { .. } => &mut self.palette_history,
        };
        let line = if older { history.older() } else { history.newer() }.map(str::to_owned);
        if let (Some(line), Some(prompt)) = (line, &mut self.prompt) {
            prompt.input.set(&line);
            self.prompt_changed();
        }
    }

    /// What Tab could make of the text, best first.
    #[must_use]
    pub fn completions(&self) -> Vec<String> {
        let Some(prompt) = &self.prompt else { return Vec::new() };
        let text = prompt.input.text();
        match prompt.kind {
            PromptKind::Palette => {
                let all = self.commands(text);
                all.into_iter().filter(|c| c.starts_with(text) && c != text).take(8).collect()
            }
            PromptKind::Why { .. } => self
                .known_subscribers()
                .filter(|id| id.starts_with(text) && *id != text)
                .take(8)
                .map(String::from)
                .collect(),
            PromptKind::Find | PromptKind::Where => Vec::new(),
        }
    }

    fn complete(&mut self) {
        let candidates = self.completions();
        let Some(first) = candidates.first() else { return };
        // As far as all agree; the whole of the first if they agree on nothing more.
        let mut common = first.clone();
        for other in &candidates {
            while !other.starts_with(&common) {
                common.pop();
            }
        }
        if let Some(prompt) = &mut self.prompt {
            let to = if common.len() > prompt.input.text().len() { common } else { first.clone() };
            prompt.input.set(&to);
        }
        self.prompt_changed();
    }

    /// Each once, the one that was asked for last first.
    fn known_subscribers(&self) -> impl Iterator<Item = &str> {
        let last = Some(self.events.why_subscriber.as_str()).filter(|id| !id.is_empty());
        let listed = self.live.subscribers.items.iter().map(|s| s.id.as_str());
        let owners = self.live.filters.items.iter().map(|f| f.spec.subscriber_id.as_str());
        let mut seen = std::collections::HashSet::new();
        last.into_iter().chain(listed).chain(owners).filter(move |id| seen.insert(*id))
    }

    /// Every command that could begin with `text`.
    fn commands(&self, text: &str) -> Vec<String> {
        const PLAIN: [&str; 13] = [
            "overview",
            "subscribers",
            "sub ",
            "events",
            "where ",
            "filters",
            "filter new",
            "log",
            "dead-letters",
            "cluster",
            "theme ",
            "columns ",
            "quit",
        ];
        let mut all: Vec<String> = PLAIN.map(String::from).into();
        if !self.settings.contexts.is_empty() {
            all.push("ctx ".into());
        }
        if text.starts_with("theme ") {
            all.extend(THEMES.iter().map(|t| format!("theme {}", t.name())));
        }
        if text.starts_with("columns ") {
            let begun = text.rsplit_once([',', ' ']).map_or("", |(begun, _)| begun);
            let joint = &text[begun.len()..=begun.len()];
            all.extend(SUBSCRIBER_COLUMNS.iter().map(|c| format!("{begun}{joint}{}", c.name())));
        }
        if text.starts_with("ctx ") {
            all.extend(self.settings.contexts.iter().map(|c| format!("ctx {c}")));
        }
        for word in ["sub ", "events ", "filter new "] {
            if text.starts_with(word) {
                all.extend(self.known_subscribers().map(|id| format!("{word}{id}")));
            }
        }
        all.extend(BINDINGS.iter().filter(|b| b.context == crate::keymap::Context::Global).map(|b| b.name.to_owned()));
        all
    }

    pub(super) fn run_command(&mut self, text: &str) -> Vec<Effect> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        let screen = match word {
            "" => return Vec::new(),
            "overview" | "ov" => Screen::Overview,
            "subscribers" | "subs" => Screen::Subscribers,
            "sub" if !rest.is_empty() => Screen::Subscriber(rest.into()),
            "sub" => Screen::Subscribers,
            "events" | "ev" => {
                if !rest.is_empty() {
                    self.events.query = EventsQuery { subscriber: Some(rest.into()), where_: None };
                }
                Screen::Events
            }
            "where" => {
                if let Err(mistake) = expression::check(rest) {
                    self.complain(mistake.message);
                    return Vec::new();
                }
                self.set_condition(Some(rest.to_owned()).filter(|t| !t.is_empty()));
                Screen::Events
            }
            "filters" | "filter" if rest.is_empty() => Screen::Filters,
            "filter" => {
                self.go(Screen::Filters);
                let owner = rest.strip_prefix("new").map(str::trim);
                return match (owner, rest.parse::<u32>()) {
                    (Some(owner), _) => {
                        let owner = owner.to_owned();
                        self.new_filter(&owner, "")
                    }
                    (None, Ok(id)) => {
                        self.filters.list.selected = Some(id);
                        Vec::new()
                    }
                    (None, Err(_)) => {
                        self.complain("`filter new [subscriber]` or `filter <id>`");
                        Vec::new()
                    }
                };
            }
            "log" => Screen::Log,
            "dead-letters" | "dlq" => Screen::DeadLetters,
            "cluster" | "nodes" | "kafka" => Screen::Cluster,
            "theme" => {
                match rest.parse::<Theme>() {
                    Ok(_) if self.settings.colorless => self.complain("colour is off (NO_COLOR, --color or TERM)"),
                    Ok(theme) => self.settings.theme = theme,
                    Err(error) => self.complain(error),
                }
                return Vec::new();
            }
            "ctx" if self.settings.contexts.iter().any(|c| c == rest) => {
                return vec![Effect::SwitchContext(rest.to_owned())];
            }
            "columns" | "cols" => {
                match columns::parse(rest) {
                    Ok(columns) => self.settings.columns = columns,
                    Err(error) => self.complain(error),
                }
                return Vec::new();
            }
            "ctx" if self.settings.contexts.is_empty() => {
                self.complain("there are no contexts; `evs context add` makes one");
                return Vec::new();
            }
            "ctx" => {
                let names = self.settings.contexts.join(", ");
                self.complain(format!("no context {rest:?}; there are: {names}"));
                return Vec::new();
            }
            "q" | "q!" | "quit" | "exit" => return vec![Effect::Quit],
            name => {
                let contexts = self.contexts();
                return match BINDINGS.iter().find(|b| b.name == name && contexts.contains(&b.context)) {
                    Some(binding) => self.perform(binding.action),
                    None => {
                        self.complain(format!("no command {name:?}; Tab completes, ? lists the keys"));
                        Vec::new()
                    }
                };
            }
        };
        self.go(screen);
        Vec::new()
    }
}
