//! What the demo reports: stats, and rows of subscribers.

use evs_api::Page;
use evs_api::filters::Filter as ApiFilter;
use evs_api::stats::{IndexStats, InstanceStats, Latency, PartitionStats, ShardStats, Stats};
use evs_api::subscribers::{Consumer, Subscriber, SubscriberDetail, SubscriberState};

use super::cast::{Actor, Habit};
use super::{MATCHERS, MOVED_S, PARTITIONS, ROUND_S, World, page};
use crate::format::age_ms;
use crate::message::{Sort, SubscribersQuery};

const SHARDS: u16 = 4;
/// What a queue keeps unread, in deliveries.
const RETENTION: u64 = 20_000;

impl World {
    pub(super) fn rates(&mut self) {
        let seconds = age_ms(self.now_ms, self.last_ms).max(0.001);
        for actor in &mut self.actors {
            let fresh = (actor.top - actor.top_before) as f64 / seconds;
            actor.per_s = actor.per_s * 0.7 + fresh * 0.3;
            actor.top_before = actor.top;
        }
        for filter in &mut self.filters {
            if let Some(activity) = &mut filter.shown.activity {
                let fresh = (activity.matched_total - filter.hits_before) as f64 / seconds;
                activity.matched_per_s = activity.matched_per_s * 0.7 + fresh * 0.3;
                filter.hits_before = activity.matched_total;
            }
            filter.shown.status = evs_api::filters::FilterStatus::Active;
        }
    }

    pub(super) fn stats(&mut self) -> Stats {
        let seconds = age_ms(self.now_ms, self.last_ms).max(0.001);
        let rate = |now: u64, before: u64| (now - before) as f64 / seconds;
        let t = age_ms(self.now_ms, self.start_ms);
        let down = self.is_gateway_down();
        let hump: f64 = if down { 6.0 } else { 1.0 };
        let latency = Latency {
            p50_ms: 3.1 + 0.4 * (t / 5.0).sin(),
            p95_ms: (8.5 + 2.0 * (t / 7.0).sin()) * hump.min(3.0),
            p99_ms: (17.0 + 6.0 * (t / 4.0).cos()) * hump,
            samples: self.totals.sent - self.last.sent,
        };
        let connections: u32 = self.actors.iter().map(|a| a.connections).sum();
        let version = self.version;
        let instance = |id: &str, role: &str, conns: u32, sick: bool| InstanceStats {
            id: id.into(),
            roles: vec![role.into()],
            healthy: !sick,
            problem: sick.then(|| "queue shard 1: connection reset by peer; tries again".into()),
            filter_version: if id == "matcher-2" && down { version.saturating_sub(2) } else { version },
            connections: conns.into(),
            uptime_s: 86_400.0 + t,
            age_s: if sick { 4.2 } else { 0.4 },
            partitions: self.assigned(id),
            rebalances: if role == "matcher" { self.moves(t) } else { 0 },
            last_rebalance_ms: (role == "matcher").then(|| self.last_move_ms(t)),
        };
        let stats = Stats {
            time_ms: self.now_ms,
            uptime_s: 86_400.0 + t,
            version: env!("CARGO_PKG_VERSION").into(),
            mode: "demo".into(),
            topic: Some("user-events".into()),
            events_in_total: self.totals.events,
            events_matched_total: self.totals.matched,
            deliveries_total: self.totals.deliveries,
            deliveries_sent_total: self.totals.sent,
            acks_total: self.totals.acks,
            events_in_per_s: rate(self.totals.events, self.last.events),
            deliveries_per_s: rate(self.totals.deliveries, self.last.deliveries),
            deliveries_sent_per_s: rate(self.totals.sent, self.last.sent),
            latency,
            connections: connections.into(),
            subscribers: self.actors.len() as u64,
            subscribers_behind: self.actors.iter().filter(|a| a.top - a.acked > 20).count() as u64,
            filters: self.filters.len() as u64,
            filter_version: version,
            gaps_total: 1 + u64::from(t > 75.0),
            dropped_total: 0,
            dead_letters_total: self.dead.len() as u64,
            index: IndexStats {
                filters: self.filters.len() as u64,
                classes: self.filters.len() as u64 * 9 / 10,
                unindexable_filters: 1,
                candidates_per_match: 1.3,
                memory_bytes: 24 * 1024 + self.filters.len() as u64 * 310,
            },
            partitions: (0..PARTITIONS).map(|p| self.partition(p, t)).collect(),
            shards: (0..SHARDS).map(|s| self.shard(s)).collect(),
            problems: Vec::new(),
            instances: vec![
                instance("api-1", "api", 0, false),
                instance("matcher-1", "matcher", 0, false),
                instance("matcher-2", "matcher", 0, false),
                instance("gateway-1", "gateway", connections / 2, false),
                instance("gateway-2", "gateway", if down { 0 } else { connections - connections / 2 }, down),
            ],
        };
        self.last = self.totals;
        self.last_ms = self.now_ms;
        stats
    }

    fn partition(&self, partition: u64, t: f64) -> PartitionStats {
        let high = self.offsets[usize::try_from(partition).unwrap_or(0)];
        let wave = (12.0 + 10.0 * (t / 9.0 + partition as f64).sin()) as u64;
        let lag = if partition == 4 && self.is_gateway_down() { 1_800 } else { wave };
        let partition = partition as u32;
        let owner = MATCHERS.into_iter().find(|id| self.assigned(id).contains(&partition)).map(str::to_owned);
        PartitionStats { partition, low: high - high.min(2_000_000), high, matched: high - lag, lag, owner }
    }

    /// Partitions of a matcher: the last one goes over for a while and comes back.
    pub(super) fn assigned(&self, id: &str) -> Vec<u32> {
        let all = 0..PARTITIONS as u32;
        let half = PARTITIONS as u32 / 2 + u32::from(self.is_moved());
        match MATCHERS.into_iter().position(|matcher| matcher == id) {
            Some(0) => all.take(half as usize).collect(),
            Some(_) => all.skip(half as usize).collect(),
            None => Vec::new(),
        }
    }

    /// How often partitions moved: once at the start, then twice in a round.
    fn moves(&self, t: f64) -> u64 {
        let in_round = t % ROUND_S;
        1 + 2 * (t / ROUND_S) as u64 + u64::from(in_round >= MOVED_S.0) + u64::from(in_round >= MOVED_S.1)
    }

    fn last_move_ms(&self, t: f64) -> i64 {
        let (round, in_round) = ((t / ROUND_S).floor() * ROUND_S, t % ROUND_S);
        let at_s = match in_round {
            s if s >= MOVED_S.1 => round + MOVED_S.1,
            s if s >= MOVED_S.0 => round + MOVED_S.0,
            _ if round > 0.0 => round - ROUND_S + MOVED_S.1,
            // Before the demo began.
            _ => -7_200.0,
        };
        self.start_ms + (at_s * 1000.0) as i64
    }

    fn shard(&self, shard: u16) -> ShardStats {
        let mine = self.actors.iter().enumerate().filter(|(at, _)| at % usize::from(SHARDS) == usize::from(shard));
        let depth = mine.map(|(_, a)| a.top - a.acked).sum();
        ShardStats {
            shard,
            epoch: format!("01JD{shard}K"),
            entries: 840 + u64::from(shard) * 37,
            log_bytes: 2_400_000 + u64::from(shard) * 190_000 + self.totals.deliveries % 400_000,
            depth,
            min_filter_version: self.version.saturating_sub(2),
        }
    }

    pub(super) fn subscribers(&self, query: &SubscribersQuery) -> Page<Subscriber> {
        let needle = query.contains.as_deref().unwrap_or_default();
        let mut rows: Vec<Subscriber> = self
            .actors
            .iter()
            .enumerate()
            .filter(|(_, a)| a.id.contains(needle))
            .map(|(at, a)| self.row(at, a))
            .filter(|row| !query.only_read || row.state != SubscriberState::New)
            .collect();
        rows.sort_by(|a, b| {
            let order = match query.sort {
                Sort::LagEvents => a.lag_events.cmp(&b.lag_events),
                Sort::LagS => a.lag_s.unwrap_or(0.0).total_cmp(&b.lag_s.unwrap_or(0.0)),
                Sort::Id => a.id.cmp(&b.id),
                Sort::State => a.state.cmp(&b.state),
                Sort::Filters => a.filters.cmp(&b.filters),
                Sort::DeliveredPerS => a.delivered_per_s.total_cmp(&b.delivered_per_s),
                Sort::LastAck => a.last_ack_ms.cmp(&b.last_ack_ms),
            };
            let order = if query.ascending { order } else { order.reverse() };
            order.then_with(|| a.id.cmp(&b.id))
        });
        page(rows, query.page.as_deref())
    }

    fn row(&self, at: usize, actor: &Actor) -> Subscriber {
        let lag = actor.top - actor.acked;
        let state = match actor.habit {
            Habit::Prompt => SubscriberState::Live,
            Habit::Slow if lag > 20 => SubscriberState::Slow,
            Habit::Slow => SubscriberState::Live,
            Habit::Gone => SubscriberState::Away,
            Habit::Never => SubscriberState::New,
        };
        let loss = (lag > 500 && actor.per_s > 0.01).then(|| RETENTION.saturating_sub(lag) as f64 / actor.per_s);
        Subscriber {
            id: actor.id.clone(),
            state,
            filters: u32::try_from(self.filters.iter().filter(|f| f.owner == at).count()).unwrap_or(u32::MAX),
            connections: actor.connections,
            top: actor.top,
            acked: actor.acked,
            lag_events: lag,
            lag_s: (lag > 0).then(|| {
                let waits = actor.oldest_ms().map_or(0.0, |oldest| age_ms(self.now_ms, oldest));
                let before = if matches!(actor.habit, Habit::Gone | Habit::Never) { 340.0 + at as f64 } else { 0.0 };
                waits + before
            }),
            delivered_per_s: actor.per_s,
            data_loss_in_s: loss,
            last_ack_ms: actor.last_ack_ms,
            lost: actor.lost,
            shard: u16::try_from(at % usize::from(SHARDS)).unwrap_or(0),
            slot: u32::try_from(at).unwrap_or(u32::MAX) / u32::from(SHARDS),
        }
    }

    pub(super) fn detail(&self, id: &str) -> Option<(SubscriberDetail, Vec<ApiFilter>)> {
        let at = self.actors.iter().position(|a| a.id == id)?;
        let actor = &self.actors[at];
        let filters: Vec<ApiFilter> = self.filters.iter().filter(|f| f.owner == at).map(|f| f.shown.clone()).collect();
        let consumer = |name: &str, behind: u64, connected| Consumer {
            name: name.into(),
            acked: actor.acked - behind.min(actor.acked),
            lag_events: actor.top - actor.acked + behind,
            connected,
            cursor: format!("AQ{:x}.{:x}", at * 65_537 + 4_099, actor.acked),
            last_ack_ms: actor.last_ack_ms,
        };
        let mut consumers = Vec::new();
        if actor.habit != Habit::Never {
            consumers.push(consumer("default", 0, actor.is_connected()));
        }
        if actor.connections > 1 {
            consumers.push(consumer("phone", 12, true));
        }
        let row = self.row(at, actor);
        let detail = SubscriberDetail {
            epoch: "01JD0K7".into(),
            consumers,
            filter_ids: filters.iter().map(|f| f.id).collect(),
            spilled: row.lag_events.saturating_sub(600),
            subscriber: row,
        };
        Some((detail, filters))
    }
}
