//! The model: everything the screen shows, and nothing that does I/O or reads a clock.
//!
//! [`App::update`] takes a message and gives effects; [`App::wants`] says which data the present screen needs.

pub mod actions;
pub mod alerts;
pub mod columns;
pub mod enabled;
pub mod equivalent;
pub mod events;
pub mod form;
pub mod lists;
pub mod nav;
pub mod overlay;
pub mod prompt;
pub mod rows;
pub mod screens;
pub mod settings;
pub mod update;

pub use alerts::Alerts;
pub use nav::{Nav, Screen};
pub use overlay::Overlay;
pub use prompt::{Prompt, PromptKind};
pub use settings::Settings;

use crate::data::Data;
use crate::input::History;
use crate::keymap::{Context, Keymap};
use crate::message::{Connection, Effect, EventsQuery, FiltersQuery, Wants};
use screens::{ClusterView, DeadLettersView, EventsView, FiltersView, LogView, SubscribersView};

/// Without a report for this long, what is shown is called stale.
pub const STALE_MS: i64 = 3_500;
/// How long a notice stays in the footer.
const TOAST_MS: i64 = 5_000;

#[derive(Clone, Debug)]
pub struct App {
    pub now_ms: i64,
    pub size: (u16, u16),
    pub settings: Settings,
    pub keymap: Keymap,
    pub connection: Connection,
    /// When the last report of the server came.
    pub data_at_ms: Option<i64>,
    pub live: Data,
    pub paused: Option<Box<Paused>>,
    pub nav: Nav,
    /// Which pane of the screen has the focus.
    pub focus: usize,
    /// The focused pane has the whole body.
    pub expanded: bool,
    pub subscribers: SubscribersView,
    pub events: EventsView,
    pub filters: FiltersView,
    pub log: LogView,
    pub dead_letters: DeadLettersView,
    pub cluster: ClusterView,
    /// Seconds that the charts show.
    pub window_s: u32,
    pub overlay: Option<Overlay>,
    pub prompt: Option<Prompt>,
    pub toast: Option<Toast>,
    pub alerts: Alerts,
    pub palette_history: History,
    pub where_history: History,
    pub find_history: History,
    asks: u64,
}

#[derive(Clone, Debug)]
pub struct Paused {
    pub since_ms: i64,
    /// As it was then; collection goes on in [`App::live`].
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toast {
    pub text: String,
    pub bad: bool,
    pub until_ms: i64,
}

impl App {
    #[must_use]
    pub fn new(settings: Settings, keymap: Keymap, now_ms: i64, size: (u16, u16)) -> Self {
        let rules = settings.alerts.clone();
        let live = Data { events: crate::data::EventRing::new(settings.events_max), ..Data::default() };
        Self {
            now_ms,
            size,
            settings,
            keymap,
            connection: Connection::Connecting,
            data_at_ms: None,
            live,
            paused: None,
            nav: Nav::default(),
            focus: 0,
            expanded: false,
            subscribers: SubscribersView::default(),
            events: EventsView::default(),
            filters: FiltersView::default(),
            log: LogView::default(),
            dead_letters: DeadLettersView::default(),
            cluster: ClusterView::default(),
            window_s: 120,
            overlay: None,
            prompt: None,
            toast: None,
            alerts: Alerts::new(rules),
            palette_history: History::default(),
            where_history: History::default(),
            find_history: History::default(),
            asks: 0,
        }
    }

    /// What the screen shows: the present, or what was there when the view was paused.
    #[must_use]
    pub fn data(&self) -> &Data {
        self.paused.as_ref().map_or(&self.live, |p| &p.data)
    }

    /// The time that ages on the screen are counted to. It stands still in a pause, as the data does.
    #[must_use]
    pub fn shown_ms(&self) -> i64 {
        self.paused.as_ref().map_or(self.now_ms, |p| p.since_ms)
    }

    #[must_use]
    pub fn screen(&self) -> &Screen {
        self.nav.screen()
    }

    /// Too low for a list and a detail one above the other.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.size.1 < 18 && self.size.0 < 76
    }

    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.data_at_ms.is_some_and(|at| self.now_ms - at > STALE_MS)
    }

    /// Where keys are looked up, the most specific first.
    #[must_use]
    pub fn contexts(&self) -> &'static [Context] {
        use Context as C;
        if self.prompt.is_some() {
            return &[C::Prompt];
        }
        match &self.overlay {
            Some(Overlay::Help(_)) => return &[C::Help],
            Some(Overlay::Text(_) | Overlay::Why(_)) => return &[C::Pager],
            Some(Overlay::Form(_)) => return &[C::Form],
            Some(Overlay::Confirm(_)) => return &[C::Confirm],
            None => {}
        }
        self.contexts_below()
    }

    /// Those of the screen itself, whatever lies over it.
    #[must_use]
    pub fn contexts_below(&self) -> &'static [Context] {
        use Context as C;
        match self.screen() {
            Screen::Overview => &[C::Overview, C::Global],
            Screen::Subscribers => &[C::Subscribers, C::List, C::Global],
            Screen::Subscriber(_) => &[C::Subscriber, C::List, C::Global],
            Screen::Events => &[C::Events, C::List, C::Global],
            Screen::Filters => &[C::Filters, C::List, C::Global],
            Screen::Log => &[C::Log, C::List, C::Global],
            Screen::DeadLetters => &[C::DeadLetters, C::List, C::Global],
            Screen::Cluster => &[C::Cluster, C::List, C::Global],
        }
    }

    /// Names of the panes of the screen, in the order of Tab.
    #[must_use]
    pub fn panes(&self) -> &'static [&'static str] {
        match self.screen() {
            Screen::Overview => &["throughput", "latency", "partitions", "queues", "instances"],
            Screen::Subscriber(_) => &["consumers", "filters", "events"],
            Screen::Events if self.events.detail => &["events", "detail"],
            Screen::Cluster => &["instances", "partitions", "shards"],
            _ => &["list"],
        }
    }

    #[must_use]
    pub fn wants(&self) -> Wants {
        let mut wants = Wants::default();
        match self.screen() {
            Screen::Overview | Screen::Log | Screen::Cluster => {}
            Screen::Subscribers => wants.subscribers = Some(self.subscribers.query()),
            Screen::Subscriber(id) => {
                wants.detail = Some(id.clone());
                wants.events = Some(EventsQuery { subscriber: Some(id.clone()), where_: None });
            }
            Screen::Events => wants.events = Some(self.events.query.clone()),
            Screen::Filters => {
                wants.filters = Some(FiltersQuery { subscriber: None, page: self.filters.pages.current() });
            }
            Screen::DeadLetters => wants.dead_letters = Some(self.dead_letters.pages.current()),
        }
        wants
    }

    pub fn say(&mut self, text: impl Into<String>) {
        self.toast = Some(Toast { text: text.into(), bad: false, until_ms: self.now_ms + TOAST_MS });
    }

    pub fn complain(&mut self, text: impl Into<String>) {
        self.toast = Some(Toast { text: text.into(), bad: true, until_ms: self.now_ms + 2 * TOAST_MS });
    }

    /// A request, and the number under which its answer will come.
    pub fn ask(&mut self, ask: crate::message::Ask) -> (u64, Vec<Effect>) {
        self.asks += 1;
        (self.asks, vec![Effect::Ask(self.asks, ask)])
    }
}
