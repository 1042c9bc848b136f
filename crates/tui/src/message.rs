//! What goes into the model, what it wants shown, and what it asks for.
//!
//! *Messages* come from the terminal, the clock and the feed. *Wants* say which data the present screen needs: they
//! are a function of the model, and the feed follows them. *Effects* are everything else that leaves the model.

use std::sync::Arc;

use evs_api::dead_letters::{DeadLetter, ReplayResponse};
use evs_api::events::{EventHeader, LoggedEvent};
use evs_api::explain::Explanation;
use evs_api::filters::{Filter, FilterSpec, TestRequest, TestResponse};
use evs_api::oplog::LogEntry;
use evs_api::stats::Stats;
use evs_api::subscribers::{Subscriber, SubscriberDetail};
use evs_api::{Page, Problem};

use crate::keymap::{Action, Chord};

#[derive(Clone, Debug)]
pub enum Message {
    /// The time, milliseconds since the Unix epoch. The model has no other clock.
    Tick(i64),
    Resize(u16, u16),
    Key(Chord),
    Paste(String),
    Mouse(Target, Pointer),
    Feed(FeedMessage),
    /// The answer to [`Effect::Ask`], by its number.
    Answer(u64, Result<Answer, Failure>),
    /// What became of an effect that the operator should hear of.
    Told(Result<String, String>),
}

/// What the mouse is on; the view says so when it draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Action(Action),
    /// A row of the focused list, by its place.
    Row(usize),
    /// A column title of the subscribers table.
    SortBy(Sort),
    Pane(usize),
    Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    Click,
    DoubleClick,
    /// Rows, down is positive; already added up over a frame.
    Scroll(i32),
}

#[derive(Clone, Debug)]
pub enum FeedMessage {
    Connection(Connection),
    Stats(Box<Stats>),
    Subscribers(SubscribersQuery, Page<Subscriber>),
    Detail(Box<SubscriberDetail>, Vec<Filter>),
    Filters(FiltersQuery, Page<Filter>),
    DeadLetters(Option<String>, Page<DeadLetter>),
    Log(Vec<LogEntry>),
    Events(EventsQuery, Vec<Incoming>),
    /// Events that were left out: because this screen or the server could not keep up.
    Dropped(EventsQuery, u64, DroppedBy),
    EventStream(EventsQuery, StreamState),
    /// One kind of data could not be had; the rest may go on.
    Failed(Topic, Failure),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DroppedBy {
    Screen,
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Subscribers,
    Detail,
    Filters,
    DeadLetters,
    Log,
    Events,
}

/// The connection to the server is a state that the screen shows, not an error that ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    Connecting,
    Connected,
    /// Tried again at `at_ms`.
    Retrying {
        attempt: u32,
        at_ms: i64,
        why: String,
    },
    /// The server is there but does not let us in. Tried again slowly, in case the token file changes.
    Refused {
        at_ms: i64,
        why: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamState {
    Opening,
    Open,
    Lost(String),
}

/// An event as it came, not parsed: only what is seen is parsed, when it is drawn.
#[derive(Clone, Debug, Default)]
pub struct Incoming {
    /// `partition:offset`, where it is known.
    pub position: Option<String>,
    pub seq: Option<u64>,
    /// When the log took it; when it came here, if the stream does not say.
    pub time_ms: i64,
    /// Ids of the subscriber's filters that matched.
    pub filters: Vec<u32>,
    pub json: Arc<str>,
    /// What its producer put beside it; most have nothing.
    pub headers: Option<Arc<Headers>>,
}

/// The headers of an event's record, as `GET /events` tells them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pub headers: Vec<EventHeader>,
    pub left_out: u32,
}

impl From<LoggedEvent> for Incoming {
    fn from(event: LoggedEvent) -> Self {
        let LoggedEvent { position, time_ms, data, headers, headers_left_out: left_out } = event;
        let has_headers = !headers.is_empty() || left_out > 0;
        Self {
            position: Some(position),
            time_ms,
            json: data.get().into(),
            headers: has_headers.then(|| Arc::new(Headers { headers, left_out })),
            ..Self::default()
        }
    }
}

impl Incoming {
    /// What a filter as it is typed looks at.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter().flat_map(|headers| &headers.headers);
        let headers = headers.flat_map(|it| std::iter::once(it.name.as_str()).chain(it.value.as_deref()));
        std::iter::once(&*self.json).chain(headers)
    }

    /// What it takes to keep it, about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let of = |header: &EventHeader| {
            let value = header.value.as_ref().or(header.value_base64.as_ref());
            size_of::<EventHeader>() + header.name.len() + value.map_or(0, String::len)
        };
        self.json.len() + self.headers.as_ref().map_or(0, |headers| headers.headers.iter().map(of).sum())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    #[default]
    LagEvents,
    LagS,
    Id,
    State,
    Filters,
    DeliveredPerS,
    LastAck,
}

pub const SORTS: [Sort; 7] =
    [Sort::LagEvents, Sort::LagS, Sort::Id, Sort::State, Sort::Filters, Sort::DeliveredPerS, Sort::LastAck];

impl Sort {
    /// As `GET /subscribers?sort=` takes it.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::LagEvents => "lag",
            Self::LagS => "oldest",
            Self::Id => "subscriber",
            Self::State => "state",
            Self::Filters => "filters",
            Self::DeliveredPerS => "queued",
            Self::LastAck => "last ack",
        }
    }

    /// As the server takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LagEvents => "lag_events",
            Self::LagS => "lag_s",
            Self::Id => "id",
            Self::State => "state",
            Self::Filters => "filters",
            Self::DeliveredPerS => "delivered_per_s",
            Self::LastAck => "last_ack",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribersQuery {
    pub sort: Sort,
    pub ascending: bool,
    pub contains: Option<String>,
    /// Without those that nobody has read yet.
    pub only_read: bool,
    pub page: Option<String>,
}

impl SubscribersQuery {
    /// As the server and `evs` take it.
    #[must_use]
    pub fn states(&self) -> Option<&'static str> {
        self.only_read.then_some("live,slow,away")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FiltersQuery {
    pub subscriber: Option<String>,
    pub page: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsQuery {
    /// Of one subscriber (its queue, observed), or of the whole log.
    pub subscriber: Option<String>,
    /// Applied by the server.
    pub where_: Option<String>,
}

/// Which data the screen needs. Stats and the log are always read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    pub subscribers: Option<SubscribersQuery>,
    pub detail: Option<String>,
    pub filters: Option<FiltersQuery>,
    pub dead_letters: Option<Option<String>>,
    pub events: Option<EventsQuery>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Quit,
    Suspend,
    Redraw,
    Copy(String),
    /// Lines for an NDJSON file, and the start of its name.
    Write {
        name: String,
        lines: Vec<String>,
    },
    SetMouse(bool),
    Bell,
    /// A notification of the desktop.
    Notify(String),
    /// Connect to another context of the configuration.
    SwitchContext(String),
    Ask(u64, Ask),
}

/// A request whose answer comes back as [`Message::Answer`].
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    CreateFilter(FilterSpec),
    /// Only if nobody changed it since this version.
    UpdateFilter {
        id: u32,
        spec: FilterSpec,
        version: u64,
    },
    /// One after the other, each only if nobody changed it since this version; the first that is refused ends it.
    DeleteFilters(Vec<(u32, u64)>),
    TestFilter(TestRequest),
    /// The event at a position of the log.
    Event(String),
    Explain {
        subscriber: String,
        event: String,
    },
    /// Empty means all.
    Redrive(Vec<String>),
    Purge(Vec<String>),
}

#[derive(Clone, Debug)]
pub enum Answer {
    FilterSaved(Box<Filter>),
    FiltersDeleted(Vec<u32>),
    Tested(Box<TestResponse>),
    Explained(Box<Explanation>),
    /// None where the log keeps it no longer.
    Event(Option<Box<LoggedEvent>>),
    Redriven(ReplayResponse),
    Purged,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Failure {
    pub kind: FailureKind,
    /// A sentence for the operator.
    pub why: String,
    /// The server's problem document, if it answered with one.
    pub problem: Option<Box<Problem>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureKind {
    /// No answer.
    #[default]
    Unreachable,
    /// 401 or 403.
    Refused,
    /// The request was wrong.
    Rejected,
    NotFound,
    /// The server does not have this endpoint.
    Unsupported,
}
