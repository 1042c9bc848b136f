//! What each action does to the model.

use super::form::FilterForm;
use super::overlay::{Confirm, Help, Overlay, Scroll, Text};
use super::prompt::PromptKind;
use super::{App, Paused, Screen};
use crate::keymap::Action;
use crate::list::Move;
use crate::message::{Ask, Effect, EventsQuery, SORTS};

/// Time windows of the charts, in seconds: what an hour of points allows.
const WINDOWS: [u32; 7] = [30, 60, 120, 300, 900, 1800, 3600];

impl App {
    /// Does it, or says why it cannot be done now.
    pub(super) fn perform(&mut self, action: Action) -> Vec<Effect> {
        if let Err(reason) = self.enabled(action) {
            self.complain(reason);
            return Vec::new();
        }
        match action {
            Action::Quit | Action::Interrupt => return vec![Effect::Quit],
            Action::Suspend => return vec![Effect::Suspend],
            Action::Redraw => return vec![Effect::Redraw],
            Action::Help => self.overlay = Some(Overlay::Help(Help::default())),
            Action::Palette => self.open_prompt(PromptKind::Palette),
            Action::Pause => self.pause(),
            Action::ViewOverview => self.go(Screen::Overview),
            Action::ViewSubscribers => self.go(Screen::Subscribers),
            Action::ViewEvents => self.go(Screen::Events),
            Action::ViewFilters => self.go(Screen::Filters),
            Action::ViewLog => self.go(Screen::Log),
            Action::ViewDeadLetters => self.go(Screen::DeadLetters),
            Action::ViewCluster => self.go(Screen::Cluster),
            Action::NextPane => self.tab(true),
            Action::PrevPane => self.tab(false),
            Action::Back | Action::Close => self.back(),
            Action::LastView => {
                if let Some(screen) = self.nav.last() {
                    self.go(screen);
                }
            }
            Action::HistoryBack => self.history(false),
            Action::HistoryForward => self.history(true),
            Action::Expand => self.expanded = !self.expanded,
            Action::ShowCommand => {
                let (command, curl) = (self.command(), self.curl());
                let text = if command == curl { curl } else { format!("{command}\n\n{curl}") };
                self.overlay = Some(text_overlay("The same from a shell", text));
            }
            Action::CopyCommand => return self.copy(self.command()),
            Action::RateUnits => self.settings.per_minute = !self.settings.per_minute,
            Action::TimeFormat => self.settings.relative_time = !self.settings.relative_time,
            Action::NextTheme => {
                self.settings.theme = self.settings.theme.next();
                self.say(format!("theme {}", self.settings.theme.name()));
            }
            Action::ToggleMouse => {
                self.settings.mouse = !self.settings.mouse;
                self.say(if self.settings.mouse { "mouse on" } else { "mouse off: the terminal selects text" });
                return vec![Effect::SetMouse(self.settings.mouse)];
            }
            Action::Up => self.step(Move::Up(1)),
            Action::Down => self.step(Move::Down(1)),
            Action::PageUp => self.step(Move::PageUp),
            Action::PageDown => self.step(Move::PageDown),
            Action::Top => self.step(Move::Top),
            Action::Bottom => self.step(Move::Bottom),
            Action::Open => return self.open(),
            Action::Find => self.open_prompt(PromptKind::Find),
            Action::Copy | Action::CopyJson | Action::Mark | Action::NextMark | Action::WriteFile => {
                return self.on_row(action);
            }
            Action::ZoomIn => self.zoom(false),
            Action::ZoomOut => self.zoom(true),
            Action::ZoomReset => self.window_s = 120,
            Action::SortNext => {
                let at = SORTS.iter().position(|s| *s == self.subscribers.sort).unwrap_or(0);
                self.sort_by(SORTS[(at + 1) % SORTS.len()]);
            }
            Action::SortReverse => {
                self.subscribers.ascending = !self.subscribers.ascending;
                self.subscribers.pages.first();
                self.subscribers.moved_ms = 0;
            }
            Action::OnlyRead => {
                self.subscribers.only_read = !self.subscribers.only_read;
                self.subscribers.pages.first();
            }
            Action::HoldOrder => {
                self.subscribers.hold = !self.subscribers.hold;
                self.say(if self.subscribers.hold { "rows stay in place" } else { "rows move as they are sorted" });
            }
            Action::PageNext => self.turn_page(true),
            Action::PagePrev => self.turn_page(false),
            Action::SubscriberEvents => {
                let id = match self.screen() {
                    Screen::Subscriber(id) => Some(id.clone()),
                    _ => self.subscribers.list.selected.clone(),
                };
                if id.is_some() {
                    self.watch_events(EventsQuery { subscriber: id, where_: None });
                }
            }
            Action::Where => self.open_prompt(PromptKind::Where),
            Action::Explain => return self.explain(),
            Action::Follow if *self.screen() == Screen::Log => self.log.following = true,
            Action::Follow => {
                self.paused = None;
                self.follow();
            }
            Action::AllEvents => {
                self.events.query.subscriber = None;
                self.follow();
            }
            Action::SearchNext => self.search(true),
            Action::SearchPrev => self.search(false),
            Action::SaveAsFilter => {
                let condition = self.events.query.where_.clone().unwrap_or_default();
                let owner = self.events.query.subscriber.clone().unwrap_or_default();
                return self.new_filter(&owner, &condition);
            }
            Action::FilterNew => {
                let owner = match self.screen() {
                    Screen::Subscriber(id) => id.clone(),
                    _ => String::new(),
                };
                return self.new_filter(&owner, "");
            }
            Action::FilterEdit => self.edit_filter(),
            Action::FilterDelete => self.confirm_delete_filter(),
            Action::FilterEvents => {
                if let Some(filter) = self.selected_filter() {
                    let where_ = crate::expression::of_filter(filter);
                    self.watch_events(EventsQuery { subscriber: None, where_ });
                }
            }
            Action::LogLevel => {
                use evs_api::oplog::Level;
                self.log.level = match self.log.level {
                    Level::Info => Level::Warn,
                    Level::Warn => Level::Error,
                    Level::Error => Level::Info,
                };
            }
            Action::Redrive | Action::RedriveAll | Action::Purge | Action::PurgeAll => {
                self.confirm_dead_letters(action);
            }
            Action::Accept
            | Action::Cancel
            | Action::Complete
            | Action::InputOlder
            | Action::InputNewer
            | Action::FormTest => {}
        }
        Vec::new()
    }

    pub(super) fn go(&mut self, screen: Screen) {
        if *self.screen() != screen {
            self.toast = self.toast.take().filter(|toast| toast.bad);
            self.nav.go(screen);
            self.entered();
        }
    }

    /// A pause and an expanded pane belong to the view that they were made in.
    fn entered(&mut self) {
        self.paused = None;
        self.expanded = false;
        self.focus = 0;
        self.follow();
    }

    fn history(&mut self, forward: bool) {
        let moved = if forward { self.nav.forward() } else { self.nav.back() };
        if moved {
            self.entered();
        } else {
            self.say(if forward { "nothing further on" } else { "nothing further back" });
        }
    }

    fn tab(&mut self, forward: bool) {
        let n = self.panes().len();
        if n > 1 {
            self.focus = if forward { (self.focus + 1) % n } else { (self.focus + n - 1) % n };
        } else {
            let tabs = super::nav::TABS;
            let at = self.screen().tab();
            let to = if forward { (at + 1) % tabs.len() } else { (at + tabs.len() - 1) % tabs.len() };
            self.go(tabs[to].clone());
        }
    }

    /// One step out: of the expanded pane, the filter, the detail, the condition, the subscriber.
    fn back(&mut self) {
        if self.expanded {
            self.expanded = false;
        } else if self.find().is_some_and(|f| !f.text().is_empty()) {
            self.set_find("");
        } else if *self.screen() == Screen::Events && self.events.detail {
            self.events.detail = false;
            self.focus = 0;
        } else if *self.screen() == Screen::Events && self.events.query.where_.is_some() {
            self.set_condition(None);
        } else if *self.screen() == Screen::Events && self.events.query.subscriber.is_some() {
            let id = self.events.query.subscriber.take().unwrap_or_default();
            self.go(Screen::Subscriber(id));
        } else if let Some(parent) = self.screen().parent() {
            self.go(parent);
        } else {
            let quit = self.keymap.key_of(Action::Quit, self.contexts());
            self.say(format!("nothing to close; {quit} quits"));
        }
    }

    fn pause(&mut self) {
        if self.paused.take().is_some() {
            self.follow();
            return;
        }
        self.paused = Some(Box::new(Paused { since_ms: self.now_ms, data: self.live.clone() }));
        if *self.screen() == Screen::Events && self.events.held.is_none() {
            self.hold_events();
        }
    }

    fn zoom(&mut self, out: bool) {
        let at = WINDOWS.iter().position(|w| *w >= self.window_s).unwrap_or(2);
        let to = if out { (at + 1).min(WINDOWS.len() - 1) } else { at.saturating_sub(1) };
        self.window_s = WINDOWS[to];
    }

    pub(super) fn sort_by(&mut self, sort: crate::message::Sort) {
        if self.subscribers.sort == sort {
            self.subscribers.ascending = !self.subscribers.ascending;
        } else {
            self.subscribers.sort = sort;
            self.subscribers.ascending = sort == crate::message::Sort::Id;
        }
        self.subscribers.pages.first();
        // The new order must be seen at once, not held.
        self.subscribers.moved_ms = 0;
    }

    pub(super) fn turn_page(&mut self, forward: bool) {
        let (arrived, turned) = match self.screen() {
            Screen::Subscribers => {
                let next = self.live.subscribers.next.clone();
                // The token belongs to the page that is shown; while another is on its way there is none.
                let arrived = self.live.subscribers.query == self.subscribers.query();
                let pages = &mut self.subscribers.pages;
                (arrived, if forward { arrived && pages.next(next.as_deref()) } else { pages.prev() })
            }
            Screen::Filters => {
                let next = self.live.filters.next.clone();
                let arrived = self.live.filters.query.page == self.filters.pages.current();
                let pages = &mut self.filters.pages;
                (arrived, if forward { arrived && pages.next(next.as_deref()) } else { pages.prev() })
            }
            Screen::DeadLetters => {
                let next = self.live.dead_letters.next.clone();
                let arrived = self.live.dead_letters.query == self.dead_letters.pages.current();
                let pages = &mut self.dead_letters.pages;
                (arrived, if forward { arrived && pages.next(next.as_deref()) } else { pages.prev() })
            }
            _ => return,
        };
        if !turned {
            self.say(match (forward, arrived) {
                (true, false) => "the page is still on its way",
                (true, true) => "this is the last page",
                (false, _) => "this is the first page",
            });
        }
    }

    pub(super) fn copy(&mut self, text: String) -> Vec<Effect> {
        let shown = crate::format::cut(text.lines().next().unwrap_or_default(), 40, "...");
        self.say(format!("copied {shown}"));
        vec![Effect::Copy(text)]
    }

    fn open(&mut self) -> Vec<Effect> {
        match self.screen().clone() {
            Screen::Subscribers => {
                if let Some(id) = self.subscribers.list.selected.clone() {
                    self.go(Screen::Subscriber(id));
                }
            }
            Screen::Subscriber(id) => match self.focus {
                1 => {
                    let selected = self.subscribers.own_filters.selected;
                    if let Some(filter) = self.own_filter_rows().iter().find(|f| Some(f.id) == selected).cloned() {
                        self.open_filter(&filter);
                    }
                }
                2 => self.watch_events(EventsQuery { subscriber: Some(id), where_: None }),
                _ => {}
            },
            Screen::Events => {
                if self.events.detail {
                    self.focus = 1;
                } else {
                    if self.events.held.is_none() && self.selected_event().is_some() {
                        self.hold_events();
                    }
                    self.events.detail = true;
                    self.events.detail_scroll = 0;
                    // Where only one of the two fits, it is the one that was asked for.
                    self.focus = usize::from(self.is_short() || self.expanded);
                }
            }
            Screen::Filters => {
                if let Some(filter) = self.selected_filter().cloned() {
                    self.open_filter(&filter);
                }
            }
            Screen::Log => self.open_log_entry(),
            Screen::DeadLetters => self.open_dead_letter(),
            Screen::Overview | Screen::Cluster => {}
        }
        Vec::new()
    }

    fn open_filter(&mut self, filter: &evs_api::filters::Filter) {
        if self.settings.read_only {
            let text = serde_json::to_string_pretty(filter).unwrap_or_default();
            self.overlay = Some(text_overlay(&format!("Filter {}", filter.id), text));
        } else {
            self.overlay = Some(Overlay::Form(Box::new(FilterForm::edit(filter))));
        }
    }

    /// A log entry leads to the subscriber that it is about.
    fn open_log_entry(&mut self) {
        let selected = self.log.list.selected;
        let entry = self.log_rows().into_iter().find(|e| Some(e.id) == selected).cloned();
        match entry.as_ref().and_then(|e| e.subscriber.clone()) {
            Some(id) => self.go(Screen::Subscriber(id)),
            None => {
                if let Some(entry) = entry {
                    self.overlay = Some(text_overlay(&entry.kind, entry.message.clone()));
                }
            }
        }
    }

    #[must_use]
    pub fn selected_filter(&self) -> Option<&evs_api::filters::Filter> {
        let id = self.filters.list.selected?;
        self.data().filters.items.iter().find(|f| f.id == id)
    }

    /// A filter as the server told it last.
    #[must_use]
    pub fn present_filter(&self, id: Option<u32>) -> Option<&evs_api::filters::Filter> {
        let all = self.live.filters.items.iter().chain(&self.live.detail_filters);
        all.filter(|f| Some(f.id) == id).max_by_key(|f| f.version)
    }

    pub(super) fn new_filter(&mut self, owner: &str, condition: &str) -> Vec<Effect> {
        if let Err(reason) = self.enabled(Action::FilterNew) {
            self.complain(reason);
        } else {
            self.overlay = Some(Overlay::Form(Box::new(FilterForm::new(owner, condition))));
        }
        Vec::new()
    }

    fn edit_filter(&mut self) {
        if let Some(filter) = self.selected_filter() {
            self.overlay = Some(Overlay::Form(Box::new(FilterForm::edit(filter))));
        }
    }

    /// The marked filters of those in sight; without marks the selected one.
    fn confirm_delete_filter(&mut self) {
        let mut filters = self.filter_rows();
        filters.retain(|filter| self.filters.marks.contains(&filter.id));
        if filters.is_empty() {
            filters.extend(self.selected_filter());
        }
        let (question, detail) = match filters.as_slice() {
            [] => return,
            [filter] => {
                let (owner, predicate) = (&filter.spec.subscriber_id, super::lists::predicate(filter));
                let detail = format!("{owner} gets no more events by it: {predicate}. What is in its queue stays.");
                (format!("Delete filter {}?", filter.id), detail)
            }
            filters => {
                let mut owners: Vec<&str> = filters.iter().map(|filter| &*filter.spec.subscriber_id).collect();
                owners.sort_unstable();
                owners.dedup();
                let owners = match owners.as_slice() {
                    [owner] => format!("{owner} gets"),
                    owners => format!("{} subscribers get", owners.len()),
                };
                let detail = format!("{owners} no more events by them. What is in a queue stays.");
                (format!("Delete {} marked filters?", filters.len()), detail)
            }
        };
        let ask = Ask::DeleteFilters(filters.iter().map(|filter| (filter.id, filter.version)).collect());
        self.overlay = Some(Overlay::Confirm(Confirm { question, detail, ask }));
    }

    fn confirm_dead_letters(&mut self, action: Action) {
        let one = self.dead_letters.list.selected.clone();
        let marked: Vec<String> = self.dead_letters.marks.iter().cloned().collect();
        let all = matches!(action, Action::RedriveAll | Action::PurgeAll);
        let ids = match (all, marked.is_empty()) {
            (true, _) => Vec::new(),
            (false, false) => marked,
            (false, true) => one.into_iter().collect(),
        };
        let what = match ids.as_slice() {
            [] => "all dead letters".to_owned(),
            [id] => format!("dead letter {id}"),
            ids => format!("{} marked dead letters", ids.len()),
        };
        let confirm = if matches!(action, Action::Redrive | Action::RedriveAll) {
            Confirm {
                question: format!("Redrive {what}?"),
                detail: "They go into the log again and are matched as new events.".into(),
                ask: Ask::Redrive(ids),
            }
        } else {
            Confirm {
                question: format!("Delete {what}?"),
                detail: "This cannot be undone.".into(),
                ask: Ask::Purge(ids),
            }
        };
        self.overlay = Some(Overlay::Confirm(confirm));
    }
}

pub(super) fn text_overlay(title: &str, text: String) -> Overlay {
    Overlay::Text(Text { title: title.to_owned(), text, scroll: Scroll::default() })
}
