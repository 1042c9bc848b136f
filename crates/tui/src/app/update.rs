//! One message after the other: keys, mouse, feed, answers.

use super::form::{self, FIELDS, Test};
use super::overlay::Overlay;
use super::{App, Screen};
use crate::keymap::{Action, Chord};
use crate::list::Move;
use crate::message::{
    Answer, Ask, Connection, Effect, Failure, FailureKind, FeedMessage, Message, Pointer, StreamState, Target, Topic,
};

/// Below this nothing useful fits; the screen says so and only quitting works.
pub const SIZE_MIN: (u16, u16) = (40, 10);

impl App {
    pub fn update(&mut self, message: Message) -> Vec<Effect> {
        let moves = matches!(message, Message::Key(_) | Message::Mouse(..) | Message::Answer(..));
        let mut effects = match message {
            Message::Tick(now_ms) => {
                self.tick(now_ms);
                return Vec::new();
            }
            Message::Resize(width, height) => {
                self.size = (width, height);
                // There and back between two pictures: the size is as it was, and the cells cut off are lost.
                vec![Effect::Redraw]
            }
            Message::Key(chord) => self.key(chord),
            Message::Paste(text) => {
                self.paste(&text);
                Vec::new()
            }
            Message::Mouse(target, pointer) => self.mouse(target, pointer),
            Message::Feed(feed) => self.feed(feed),
            Message::Answer(ask, answer) => {
                self.answer(ask, answer);
                Vec::new()
            }
            Message::Told(Ok(text)) => {
                self.say(text);
                Vec::new()
            }
            Message::Told(Err(text)) => {
                self.complain(text);
                Vec::new()
            }
        };
        if let Some(query) = self.wants().events {
            self.live.events.ask(&query);
        }
        self.settle();
        if moves {
            effects.extend(self.look_up_headers());
        }
        effects
    }

    #[must_use]
    pub fn is_too_small(&self) -> bool {
        self.size.0 < SIZE_MIN.0 || self.size.1 < SIZE_MIN.1
    }

    fn tick(&mut self, now_ms: i64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.toast.as_ref().is_some_and(|t| t.until_ms <= self.now_ms) {
            self.toast = None;
        }
    }

    fn key(&mut self, chord: Chord) -> Vec<Effect> {
        use crate::keymap::Context;
        let global = self.keymap.action(&[Context::Global], chord);
        // Whatever is open, ctrl-c leaves and ctrl-z goes to the background.
        match global {
            Some(Action::Interrupt) => return vec![Effect::Quit],
            Some(Action::Suspend) => return vec![Effect::Suspend],
            _ => {}
        }
        if self.is_too_small() {
            return if global == Some(Action::Quit) { vec![Effect::Quit] } else { Vec::new() };
        }
        if self.prompt.is_some() {
            return self.prompt_key(chord);
        }
        if self.overlay.is_some() {
            return self.overlay_key(chord);
        }
        match self.keymap.action(self.contexts(), chord) {
            Some(action) => self.perform(action),
            None => Vec::new(),
        }
    }

    fn paste(&mut self, text: &str) {
        if let Some(prompt) = &mut self.prompt {
            prompt.input.paste(text);
            self.prompt_changed();
            return;
        }
        match &mut self.overlay {
            Some(Overlay::Help(help)) => help.find.paste(text),
            Some(Overlay::Form(form)) if !form.is_fixed(FIELDS[form.focus]) => {
                form.fields[form.focus].paste(text);
                form.refused = None;
            }
            _ => {}
        }
    }

    fn mouse(&mut self, target: Target, pointer: Pointer) -> Vec<Effect> {
        if self.is_too_small() {
            return Vec::new();
        }
        if let Pointer::Scroll(rows) = pointer {
            let n = rows.unsigned_abs() as usize;
            let by = if rows < 0 { Move::Up(n) } else { Move::Down(n) };
            match &mut self.overlay {
                Some(Overlay::Help(help)) => help.scroll.step(by),
                Some(Overlay::Text(text)) => text.scroll.step(by),
                Some(Overlay::Why(why)) => why.scroll.step(by),
                Some(Overlay::Form(_) | Overlay::Confirm(_)) => {}
                None => {
                    if let Target::Pane(pane) = target {
                        self.focus = pane.min(self.panes().len() - 1);
                    }
                    self.step(by);
                }
            }
            return Vec::new();
        }
        match target {
            Target::Action(action) => {
                if self.prompt.is_some() || self.overlay.is_some() {
                    return self.click_in_overlay(action);
                }
                self.perform(action)
            }
            _ if self.prompt.is_some() || self.overlay.is_some() => Vec::new(),
            Target::SortBy(sort) => {
                self.sort_by(sort);
                Vec::new()
            }
            Target::Row(at) => {
                self.click_row(at);
                if pointer == Pointer::DoubleClick { self.perform(Action::Open) } else { Vec::new() }
            }
            Target::Pane(pane) => {
                self.focus = pane.min(self.panes().len() - 1);
                Vec::new()
            }
            Target::Body => Vec::new(),
        }
    }

    fn click_row(&mut self, at: usize) {
        match self.screen() {
            Screen::Events => {
                if self.events.held.is_none() {
                    self.hold_events();
                }
                self.focus = 0;
                let keys: Vec<u64> = self.event_rows().iter().map(|row| row.n).collect();
                self.events.list.select_at(&keys, at);
                self.events.detail_scroll = 0;
            }
            Screen::Log => {
                let keys: Vec<u64> = self.log_rows().iter().map(|e| e.id).collect();
                self.log.following = false;
                self.log.list.select_at(&keys, at);
            }
            _ => {
                self.step(Move::Top);
                if at > 0 {
                    self.step(Move::Down(at));
                }
            }
        }
    }

    fn click_in_overlay(&mut self, action: Action) -> Vec<Effect> {
        if self.prompt.is_some() {
            let key = self.keymap.key_of(action, self.contexts());
            return Chord::parse(&key).map(|chord| self.prompt_key(chord)).unwrap_or_default();
        }
        self.overlay_action(action)
    }

    fn feed(&mut self, feed: FeedMessage) -> Vec<Effect> {
        let now = self.now_ms;
        match feed {
            FeedMessage::Connection(connection) => self.connection = connection,
            FeedMessage::Stats(stats) => {
                self.data_at_ms = Some(now);
                let news = self.alerts.look(&stats, now);
                self.live.put_stats(*stats, now);
                if !news.is_empty() {
                    let mut effects = Vec::new();
                    if self.settings.bell {
                        effects.push(Effect::Bell);
                    }
                    if self.settings.notify {
                        effects.push(Effect::Notify(format!("{}: {}", self.settings.target, news.join(", "))));
                    }
                    return effects;
                }
            }
            FeedMessage::Subscribers(query, page) => {
                if query == self.subscribers.query() {
                    let turned = query.page != self.live.subscribers.query.page;
                    let hold = self.subscribers.holds(now);
                    self.live.put_subscribers(query, page, now, hold);
                    if turned && self.paused.is_none() {
                        self.subscribers.list.select_at(&[], 0);
                    }
                    self.live.failures.remove(&Topic::Subscribers);
                }
            }
            FeedMessage::Detail(detail, filters) => {
                self.live.put_detail(*detail, filters);
                self.live.failures.remove(&Topic::Detail);
            }
            FeedMessage::Filters(query, page) => {
                self.live.filters.put(query, page, now);
                self.live.failures.remove(&Topic::Filters);
            }
            FeedMessage::DeadLetters(query, page) => {
                self.live.dead_letters.put(query, page, now);
                let here: std::collections::BTreeSet<&str> =
                    self.live.dead_letters.items.iter().map(|d| d.id.as_str()).collect();
                self.dead_letters.marks.retain(|id| here.contains(id.as_str()));
                self.live.failures.remove(&Topic::DeadLetters);
            }
            FeedMessage::Log(entries) => {
                self.live.put_log(entries);
                self.live.failures.remove(&Topic::Log);
            }
            FeedMessage::Events(query, events) => {
                self.live.events.push(&query, events);
                self.live.failures.remove(&Topic::Events);
            }
            FeedMessage::Dropped(query, n, by) => self.live.events.dropped(&query, n, by),
            FeedMessage::EventStream(query, state) => {
                if self.live.events.query == query {
                    if state == StreamState::Open {
                        self.live.failures.remove(&Topic::Events);
                    }
                    self.live.events.state = state;
                }
            }
            FeedMessage::Failed(topic, failure) => {
                self.live.failures.insert(topic, failure);
            }
        }
        Vec::new()
    }

    fn answer(&mut self, ask: u64, answer: Result<Answer, Failure>) {
        if self.events.looked_up.ask == Some(ask) {
            self.looked_up(answer);
            return;
        }
        match &mut self.overlay {
            Some(Overlay::Why(why)) if why.ask == ask => {
                why.answer = Some(match answer {
                    Ok(Answer::Explained(explanation)) => Ok(explanation),
                    Ok(_) => Err(Failure { why: "the server answered something else".into(), ..Failure::default() }),
                    Err(failure) => Err(failure),
                });
                return;
            }
            Some(Overlay::Form(form)) => {
                if let Test::Running { ask: running, request } = &form.test
                    && *running == ask
                {
                    let request = request.clone();
                    form.test = match answer {
                        Ok(Answer::Tested(response)) => Test::Done { request, response },
                        Ok(_) => Test::None,
                        Err(why) => {
                            if why.kind == FailureKind::Rejected {
                                form.refused = Some(why.clone());
                                Test::None
                            } else {
                                Test::Failed { request, why }
                            }
                        }
                    };
                    return;
                }
                if form.saving == Some(ask) {
                    form.saving = None;
                    match answer {
                        Ok(Answer::FilterSaved(filter)) => {
                            self.overlay = None;
                            self.say(format!("filter {} saved for {}", filter.id, filter.spec.subscriber_id));
                            self.filters.list.selected = Some(filter.id);
                        }
                        Ok(_) => {}
                        Err(failure) if is_overtaken(&failure) => {
                            form.overtaken = true;
                            self.complain("somebody else changed it: enter saves yours over it, esc leaves theirs");
                        }
                        Err(failure) => {
                            let text = failure.why.clone();
                            form.refused = Some(failure);
                            self.complain(text);
                        }
                    }
                    return;
                }
            }
            _ => {}
        }
        match answer {
            Ok(Answer::FilterSaved(filter)) => self.say(format!("filter {} saved", filter.id)),
            Ok(Answer::FiltersDeleted(ids)) => {
                self.filters.marks.retain(|id| !ids.contains(id));
                self.say(match ids.as_slice() {
                    [id] => format!("filter {id} deleted"),
                    ids => format!("{} filters deleted", ids.len()),
                });
            }
            Ok(Answer::Redriven(done)) if done.failed > 0 => {
                self.complain(format!("{} redriven, {} failed again", done.replayed, done.failed));
            }
            Ok(Answer::Redriven(done)) => self.say(format!("{} redriven", done.replayed)),
            Ok(Answer::Purged) => self.say("deleted"),
            // Their overlay was closed before the answer came.
            Ok(Answer::Tested(_) | Answer::Explained(_) | Answer::Event(_)) => {}
            Err(failure) => self.complain(failure.why),
        }
    }

    fn overlay_key(&mut self, chord: Chord) -> Vec<Effect> {
        if let Some(Overlay::Help(help)) = &mut self.overlay {
            let is_empty = help.find.text().is_empty();
            match self.keymap.action(&[crate::keymap::Context::Help], chord) {
                Some(Action::Back) if is_empty => self.overlay = None,
                Some(Action::Back) => help.find.set(""),
                Some(action) => step_of(action).into_iter().for_each(|by| help.scroll.step(by)),
                // Nobody searches for the key that opened it.
                None if is_empty && matches!(chord.typed(), Some('?' | 'q')) => self.overlay = None,
                None => {
                    help.find.key(chord);
                    help.scroll.step(Move::Top);
                }
            }
            return Vec::new();
        }
        match self.keymap.action(self.contexts(), chord) {
            Some(action) => self.overlay_action(action),
            None => {
                if let Some(Overlay::Form(form)) = &mut self.overlay
                    && !form.is_fixed(FIELDS[form.focus])
                    && form.fields[form.focus].key(chord)
                {
                    form.refused = None;
                    // What was complained of is being mended.
                    self.toast = None;
                }
                Vec::new()
            }
        }
    }

    fn overlay_action(&mut self, action: Action) -> Vec<Effect> {
        let by = step_of(action);
        match (&mut self.overlay, action) {
            (Some(_), Action::Back | Action::Cancel) => self.overlay = None,
            (Some(Overlay::Text(text)), Action::Copy) => {
                let text = text.text.clone();
                return self.copy(text);
            }
            (Some(Overlay::Why(why)), Action::Copy) => {
                if let Some(Ok(explanation)) = &why.answer {
                    let json = serde_json::to_string_pretty(explanation).unwrap_or_default();
                    return self.copy(json);
                }
            }
            (Some(Overlay::Text(text)), _) => by.into_iter().for_each(|by| text.scroll.step(by)),
            (Some(Overlay::Why(why)), _) => by.into_iter().for_each(|by| why.scroll.step(by)),
            (Some(Overlay::Form(form)), Action::NextPane) => form.step_focus(true),
            (Some(Overlay::Form(form)), Action::PrevPane) => form.step_focus(false),
            (Some(Overlay::Form(_)), Action::FormTest) => return self.test_filter(),
            (Some(Overlay::Form(_)), Action::Accept) => return self.save_filter(),
            (Some(Overlay::Confirm(_)), Action::Accept) => {
                if self.connection != Connection::Connected {
                    self.complain("not connected");
                    return Vec::new();
                }
                if let Some(Overlay::Confirm(confirm)) = self.overlay.take() {
                    return self.ask(confirm.ask).1;
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn test_filter(&mut self) -> Vec<Effect> {
        let Some(Overlay::Form(form)) = &mut self.overlay else { return Vec::new() };
        match form.spec() {
            Ok(spec) => {
                let request = form::test_request(&spec);
                if let Test::Running { request: running, .. } = &form.test
                    && **running == request
                {
                    // Asking again would only begin it anew.
                    self.say("still trying it");
                    return Vec::new();
                }
                let (ask, effects) = self.ask(Ask::TestFilter(request.clone()));
                if let Some(Overlay::Form(form)) = &mut self.overlay {
                    form.test = Test::Running { ask, request: Box::new(request) };
                }
                effects
            }
            Err((field, why)) => {
                form.focus = field as usize;
                self.complain(format!("{}: {why}", field.label()));
                Vec::new()
            }
        }
    }

    /// Saves what was tried; what was not is tried first, so that nobody saves a filter unseen.
    fn save_filter(&mut self) -> Vec<Effect> {
        let Some(Overlay::Form(form)) = &self.overlay else { return Vec::new() };
        if form.saving.is_some() {
            return Vec::new();
        }
        let id = form.id;
        match form.spec() {
            Ok(spec) if form.is_tested(&spec) => {
                if self.connection != Connection::Connected {
                    self.complain("not connected");
                    return Vec::new();
                }
                // Who saves over another's change means the one that the screen shows.
                let theirs = form.overtaken.then(|| self.present_filter(form.id)).flatten();
                let version = theirs.map_or(form.version, |filter| filter.version);
                let ask = match id {
                    Some(id) => Ask::UpdateFilter { id, spec, version },
                    None => Ask::CreateFilter(spec),
                };
                let (number, effects) = self.ask(ask);
                if let Some(Overlay::Form(form)) = &mut self.overlay {
                    form.saving = Some(number);
                    form.refused = None;
                }
                effects
            }
            _ => self.test_filter(),
        }
    }
}

fn is_overtaken(failure: &Failure) -> bool {
    failure.problem.as_ref().is_some_and(|problem| problem.code == "version_mismatch")
}

fn step_of(action: Action) -> Option<Move> {
    match action {
        Action::Up => Some(Move::Up(1)),
        Action::Down => Some(Move::Down(1)),
        Action::PageUp => Some(Move::PageUp),
        Action::PageDown => Some(Move::PageDown),
        Action::Top => Some(Move::Top),
        Action::Bottom => Some(Move::Bottom),
        _ => None,
    }
}
