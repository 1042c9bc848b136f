//! A synthetic installation for `--demo`, pictures and tests: subscribers that keep up, lag and sleep, filters that
//! really match, a gateway that fails now and then. No I/O and no clock: [`World::step`] is told the time.

mod answers;
mod cast;
mod report;
pub mod stage;

use std::collections::VecDeque;
use std::sync::Arc;

use evs_api::Page;
use evs_api::dead_letters::DeadLetter;
use evs_api::events::EventHeader;
use evs_api::filters::Filter as ApiFilter;
use evs_api::oplog::{Level, LogEntry};
use evs_core::Filter;
use evs_core::filter::ast::Expr;
use evs_core::filter::eval;
use evs_traffic::{Traffic, TrafficConfig};

use crate::message::{FeedMessage, Headers, Incoming, StreamState, Wants};
use cast::Actor;

/// Events kept for dry runs and "why".
const RECENT_MAX: usize = 3_000;
/// Reports come once a second, as the server's do.
const REPORT_MS: i64 = 1_000;
const PARTITIONS: u64 = 6;
const MATCHERS: [&str; 2] = ["matcher-1", "matcher-2"];
/// What happens once in a while happens again after this.
const ROUND_S: f64 = 90.0;
/// When in a round a partition goes from one matcher to the other, and when it is back.
const MOVED_S: (f64, f64) = (25.0, 35.0);
/// A machine that is too busy gets fewer events and not a longer step: the demo must not fall behind its own clock.
const STEP_S_MAX: f64 = 0.5;

#[derive(Clone, Debug)]
pub struct Config {
    pub seed: u64,
    pub subscribers: usize,
    pub events_per_s: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { seed: 7, subscribers: 340, events_per_s: 240.0 }
    }
}

#[derive(Debug)]
pub struct World {
    config: Config,
    traffic: Traffic,
    start_ms: i64,
    now_ms: i64,
    report_ms: i64,
    /// Events owed to the rate but not made yet.
    owed: f64,
    actors: Vec<Actor>,
    filters: Vec<Live>,
    conditions: Vec<Expr>,
    next_filter: u32,
    version: u64,
    recent: VecDeque<Recent>,
    offsets: [u64; PARTITIONS as usize],
    totals: Totals,
    last: Totals,
    last_ms: i64,
    log: Vec<LogEntry>,
    next_log: u64,
    dead: Vec<DeadLetter>,
    wanted: Wants,
}

/// A filter that matches.
#[derive(Clone, Debug)]
struct Live {
    shown: ApiFilter,
    meaning: Filter,
    /// Which of the world's conditions it is: those who ask the same share the answer.
    condition: usize,
    owner: usize,
    hits_before: u64,
}

#[derive(Clone, Debug)]
struct Recent {
    position: String,
    time_ms: i64,
    json: Arc<str>,
    value: serde_json::Value,
    /// Owner and ids of the filters that matched.
    matched: Vec<(usize, Vec<u32>)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    events: u64,
    matched: u64,
    deliveries: u64,
    sent: u64,
    acks: u64,
}

impl World {
    #[must_use]
    pub fn new(config: Config, now_ms: i64) -> Self {
        let users = TrafficConfig { users: 5_000, ..TrafficConfig::default() };
        let mut world = Self {
            traffic: Traffic::new(config.seed, users),
            start_ms: now_ms,
            now_ms,
            report_ms: now_ms,
            owed: 0.0,
            actors: cast::actors(config.subscribers),
            filters: Vec::new(),
            conditions: Vec::new(),
            next_filter: 1,
            version: 0,
            recent: VecDeque::new(),
            offsets: std::array::from_fn(|p| 48_211_907 + 7_919 * p as u64),
            totals: Totals::default(),
            last: Totals::default(),
            last_ms: now_ms,
            log: Vec::new(),
            next_log: 1,
            dead: Vec::new(),
            wanted: Wants::default(),
            config,
        };
        for (owner, spec) in cast::filters(&world.actors) {
            world.add_filter(owner, spec).expect("the demo's own filters are well formed");
        }
        for at in 0..9 {
            world.add_dead_letter(now_ms - 40_000 * (9 - at));
        }
        world.happened(Level::Info, "started", None, "evs-server demo, all roles".into());
        world
    }

    /// What happened until `now_ms`, for a screen that wants this.
    pub fn step(&mut self, now_ms: i64, wants: &Wants) -> Vec<FeedMessage> {
        let mut out = Vec::new();
        let asked_anew = *wants != self.wanted;
        if asked_anew
            && wants.events != self.wanted.events
            && let Some(query) = &wants.events
        {
            out.push(FeedMessage::EventStream(query.clone(), StreamState::Open));
        }
        self.wanted = wants.clone();
        let seconds = crate::format::age_ms(now_ms, self.now_ms).min(STEP_S_MAX);
        self.now_ms = self.now_ms.max(now_ms);
        // A slow wave and a fast one: a chart that is not a straight line.
        let t = crate::format::age_ms(now_ms, self.start_ms);
        let wave = 1.0 + 0.35 * (t / 23.0).sin() + 0.12 * (t / 3.1).sin();
        self.owed += self.config.events_per_s * wave * seconds;
        let mut events = Vec::new();
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            self.event(&mut events);
        }
        for actor in &mut self.actors {
            self.totals.acks += actor.read(seconds, self.now_ms);
        }
        if let (Some(query), false) = (&wants.events, events.is_empty()) {
            out.push(FeedMessage::Events(query.clone(), events));
        }
        let is_due = now_ms >= self.report_ms;
        if is_due {
            self.report_ms = now_ms + REPORT_MS;
            self.incidents();
            self.rates();
            out.push(FeedMessage::Stats(Box::new(self.stats())));
        }
        if is_due || asked_anew {
            self.pages(wants, &mut out);
        }
        let log = std::mem::take(&mut self.log);
        if !log.is_empty() {
            out.push(FeedMessage::Log(log));
        }
        out
    }

    fn event(&mut self, out: &mut Vec<Incoming>) {
        let mut bytes = Vec::new();
        let key = self.traffic.write_event(self.now_ms, &mut bytes);
        let partition = key % PARTITIONS;
        let offset = &mut self.offsets[usize::try_from(partition).unwrap_or(0)];
        *offset += 1;
        let position = format!("{partition}:{offset}");
        let json: Arc<str> = String::from_utf8_lossy(&bytes).into();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
        self.totals.events += 1;
        let mut matched: Vec<(usize, Vec<u32>)> = Vec::new();
        let holds: Vec<bool> = self.conditions.iter().map(|condition| eval(condition, &value).is_true()).collect();
        for filter in &mut self.filters {
            if holds[filter.condition] {
                if let Some(activity) = &mut filter.shown.activity {
                    activity.matched_total += 1;
                    activity.last_match_ms = Some(self.now_ms);
                }
                match matched.iter_mut().find(|(owner, _)| *owner == filter.owner) {
                    Some((_, ids)) => ids.push(filter.shown.id),
                    None => matched.push((filter.owner, vec![filter.shown.id])),
                }
            }
        }
        self.totals.matched += u64::from(!matched.is_empty());
        for (owner, _) in &matched {
            self.actors[*owner].deliver(self.now_ms);
            self.totals.deliveries += 1;
            self.totals.sent += u64::from(self.actors[*owner].is_connected());
        }
        if let Some(incoming) = self.shown(&position, &json, &value, &matched) {
            out.push(incoming);
        }
        self.recent.push_back(Recent { position, time_ms: self.now_ms, json, value, matched });
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// The number of a condition, which is kept for good: the demo makes few.
    fn condition(&mut self, expr: Expr) -> usize {
        self.conditions.iter().position(|known| *known == expr).unwrap_or_else(|| {
            self.conditions.push(expr);
            self.conditions.len() - 1
        })
    }

    /// The event as the wanted stream gives it, if it is in it.
    fn shown(
        &self,
        position: &str,
        json: &Arc<str>,
        value: &serde_json::Value,
        matched: &[(usize, Vec<u32>)],
    ) -> Option<Incoming> {
        let query = self.wanted.events.as_ref()?;
        if let Some(condition) = &query.where_ {
            let filter = Filter::new(Vec::new(), Vec::new(), None, Some(condition)).ok()?;
            if !filter.matches_value(value) {
                return None;
            }
        }
        let mut incoming = Incoming { time_ms: self.now_ms, json: json.clone(), ..Incoming::default() };
        incoming.position = Some(position.to_owned());
        match &query.subscriber {
            None => incoming.headers = Some(self.headers()),
            Some(id) => {
                let (owner, ids) = matched.iter().find(|(owner, _)| self.actors[*owner].id == *id)?;
                incoming.seq = Some(self.actors[*owner].top);
                incoming.filters.clone_from(ids);
            }
        }
        Some(incoming)
    }

    /// As a producer with tracing writes them.
    fn headers(&self) -> Arc<Headers> {
        let n = self.totals.events;
        let header =
            |name: &str, value: String| EventHeader { name: name.into(), value: Some(value), ..EventHeader::default() };
        let trace = format!("00-{:032x}-{n:016x}-01", u128::from(n) * 0x9e37_79b9_7f4a_7c15);
        let headers = vec![header("content-type", "application/json".into()), header("traceparent", trace)];
        Arc::new(Headers { headers, left_out: 0 })
    }

    fn happened(&mut self, level: Level, kind: &str, subscriber: Option<String>, message: String) {
        let instance = match kind {
            "rebalance" => None,
            "filter_created" | "filter_updated" | "filter_deleted" => Some("api-1".into()),
            "dead_letter" | "gap" => Some("matcher-1".into()),
            _ => Some("gateway-2".into()),
        };
        let (id, time_ms, kind) = (self.next_log, self.now_ms, kind.into());
        let entry = LogEntry { id, time_ms, level, kind, subscriber, instance, message };
        self.next_log += 1;
        self.log.push(entry);
    }

    /// Something for the log every few seconds.
    fn incidents(&mut self) {
        let s = (self.now_ms - self.start_ms) / 1000;
        let at = usize::try_from(s).unwrap_or(0);
        let who = at * 7 % self.actors.len();
        let id = self.actors[who].id.clone();
        match s % 20 {
            3 => self.happened(Level::Info, "connected", Some(id), "consumer default, resumed exactly".into()),
            7 => {
                self.happened(Level::Warn, "slow", Some(id), "256 events unacked for 5s; sends again after acks".into())
            }
            11 => self.happened(
                Level::Info,
                "superseded",
                Some(id),
                "consumer phone connected again from elsewhere".into(),
            ),
            13 => {
                self.add_dead_letter(self.now_ms);
                let reason = self.dead.last().map(|d| format!("{}: {}", d.position, d.detail)).unwrap_or_default();
                self.happened(Level::Error, "dead_letter", None, reason);
            }
            17 => self.happened(Level::Info, "disconnected", Some(id), "client went away (1001)".into()),
            _ => {}
        }
        match s % 90 {
            25 | 35 => {
                for id in MATCHERS {
                    let partitions = crate::format::runs(&self.assigned(id));
                    self.happened(
                        Level::Info,
                        "rebalance",
                        None,
                        format!("matcher {id} works on partitions {partitions}"),
                    );
                }
            }
            40 => self.happened(Level::Error, "dependency_lost", None, "queue shard 1: connection reset".into()),
            60 => self.happened(Level::Info, "dependency_back", None, "queue shard 1, after 20s".into()),
            75 => {
                let id = self.actors[2].id.clone();
                self.happened(Level::Warn, "gap", Some(id), "1,204 deliveries passed the retention unread".into());
            }
            _ => {}
        }
    }

    fn is_gateway_down(&self) -> bool {
        let s = (self.now_ms - self.start_ms) / 1000 % 90;
        (40..60).contains(&s)
    }

    fn is_moved(&self) -> bool {
        let in_round = crate::format::age_ms(self.now_ms, self.start_ms) % ROUND_S;
        (MOVED_S.0..MOVED_S.1).contains(&in_round)
    }

    fn add_dead_letter(&mut self, time_ms: i64) {
        use base64::Engine as _;
        let bytes = self.traffic.next_malformed(time_ms);
        let detail = match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(_) => "not an object".to_owned(),
            Err(error) => error.to_string(),
        };
        let n = self.totals.events + self.dead.len() as u64 * 31;
        let position = format!("{}:{}", n % PARTITIONS, 48_211_000 + n);
        self.dead.push(DeadLetter {
            id: format!("dl-{:05}", 1 + n),
            reason: "invalid_json".into(),
            detail,
            position,
            time_ms,
            payload_base64: base64::engine::general_purpose::STANDARD.encode(bytes),
        });
    }

    fn pages(&self, wants: &Wants, out: &mut Vec<FeedMessage>) {
        if let Some(query) = &wants.subscribers {
            out.push(FeedMessage::Subscribers(query.clone(), self.subscribers(query)));
        }
        if let Some(id) = &wants.detail {
            out.push(match self.detail(id) {
                Some((detail, filters)) => FeedMessage::Detail(Box::new(detail), filters),
                None => FeedMessage::Failed(crate::message::Topic::Detail, answers::not_found(id)),
            });
        }
        if let Some(query) = &wants.filters {
            let all = self.filters.iter().map(|f| f.shown.clone()).collect();
            out.push(FeedMessage::Filters(query.clone(), page(all, query.page.as_deref())));
        }
        if let Some(query) = &wants.dead_letters {
            let newest: Vec<DeadLetter> = self.dead.iter().rev().cloned().collect();
            out.push(FeedMessage::DeadLetters(query.clone(), page(newest, query.as_deref())));
        }
    }
}

/// One page; the token is the place of its first row.
fn page<T>(all: Vec<T>, token: Option<&str>) -> Page<T> {
    let rows = crate::app::screens::PAGE_ROWS as usize;
    let from = token.and_then(|t| t.parse().ok()).unwrap_or(0);
    let total = all.len();
    let next = (from + rows < total).then(|| (from + rows).to_string());
    Page { items: all.into_iter().skip(from).take(rows).collect(), next, total: Some(total as u64) }
}
