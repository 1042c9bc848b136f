//! Who plays in the demo: subscribers with their habits, and their filters.

use std::collections::VecDeque;

use evs_api::filters::FilterSpec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// Reads all at once.
    Prompt,
    /// Reads a part of what comes, catches up at times.
    Slow,
    /// Was here once.
    Gone,
    /// Never came.
    Never,
}

#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) id: String,
    pub(super) habit: Habit,
    pub(super) top: u64,
    pub(super) acked: u64,
    pub(super) top_before: u64,
    pub(super) per_s: f64,
    pub(super) last_ack_ms: Option<i64>,
    pub(super) connections: u32,
    pub(super) lost: u64,
    owed: f64,
    /// When deliveries that are not acked came, one for each hundred.
    waiting: VecDeque<(u64, i64)>,
}

impl Actor {
    pub(super) fn deliver(&mut self, now_ms: i64) {
        self.top += 1;
        if self.waiting.is_empty() || self.top.is_multiple_of(100) {
            self.waiting.push_back((self.top, now_ms));
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.habit, Habit::Prompt | Habit::Slow)
    }

    /// Acks what it read; gives their number.
    pub(super) fn read(&mut self, seconds: f64, now_ms: i64) -> u64 {
        let before = self.acked;
        match self.habit {
            Habit::Prompt => self.acked = self.top,
            Habit::Slow => {
                self.owed += (self.per_s * 0.8).max(0.5) * seconds;
                while self.owed >= 1.0 {
                    self.owed -= 1.0;
                    self.acked = (self.acked + 1).min(self.top);
                }
            }
            Habit::Gone | Habit::Never => {}
        }
        while self.waiting.front().is_some_and(|(seq, _)| *seq <= self.acked) {
            self.waiting.pop_front();
        }
        if self.acked > before {
            self.last_ack_ms = Some(now_ms);
        }
        self.acked - before
    }

    pub(super) fn oldest_ms(&self) -> Option<i64> {
        self.waiting.front().map(|(_, at)| *at)
    }
}

const COUNTRIES: [&str; 6] = ["JP", "ES", "GB", "FR", "IN", "BR"];

const NAMED: [(&str, Habit); 8] = [
    ("fraud-desk", Habit::Prompt),
    ("crm-sync", Habit::Slow),
    ("partner-acme", Habit::Gone),
    ("mobile-push", Habit::Prompt),
    ("dashboard-eu", Habit::Prompt),
    ("billing", Habit::Prompt),
    ("support-tier-2", Habit::Slow),
    ("warehouse-load", Habit::Never),
];

pub(super) fn actors(n: usize) -> Vec<Actor> {
    (0..n.max(NAMED.len()))
        .map(|at| {
            let (id, habit) = match NAMED.get(at) {
                Some((id, habit)) => ((*id).to_owned(), *habit),
                None => {
                    let habit = match at % 23 {
                        3 => Habit::Slow,
                        7 | 15 => Habit::Gone,
                        11 => Habit::Never,
                        _ => Habit::Prompt,
                    };
                    (format!("user_{}", at - NAMED.len() + 1), habit)
                }
            };
            let top = if habit == Habit::Never { 90 + at as u64 % 300 } else { 10_000 + (at as u64 * 7_919) % 50_000 };
            let behind = match habit {
                Habit::Prompt => 0,
                Habit::Slow => 40 + at as u64 % 300,
                Habit::Gone => 900 + (at as u64 * 131) % 4_000,
                Habit::Never => top,
            };
            Actor {
                id,
                habit,
                top,
                acked: top - behind,
                top_before: top,
                per_s: 1.0,
                last_ack_ms: None,
                connections: if matches!(habit, Habit::Prompt | Habit::Slow) { 1 + u32::from(at % 5 == 0) } else { 0 },
                lost: if at == 2 { 1_204 } else { 0 },
                owed: 0.0,
                waiting: VecDeque::new(),
            }
        })
        .collect()
}

/// A filter or two for each of the named, one for some of the others.
pub(super) fn filters(actors: &[Actor]) -> Vec<(usize, FilterSpec)> {
    let expressions = [
        "amount >= 500",
        "country in [\"DE\", \"FR\"] && amount > 20",
        "device.os == \"iOS\"",
        "event_type.startsWith(\"pur\") || amount > 250",
        "user_tier in [\"premium\", \"enterprise\"]",
        "has(session.id) && session.events > 35",
    ];
    let mut out = Vec::new();
    for (owner, actor) in actors.iter().enumerate() {
        let mut spec = FilterSpec { subscriber_id: actor.id.clone(), ..FilterSpec::default() };
        match owner {
            0 => {
                spec.name = Some("large".into());
                spec.event_types = vec!["purchase".into(), "refund".into()];
                spec.min_amount = Some(100.into());
                out.push((owner, spec.clone()));
                spec.name = Some("odd".into());
                spec.event_types.clear();
                spec.min_amount = None;
                spec.where_ = Some("!(country in [\"DE\", \"FR\", \"US\"]) && user_tier == \"free\"".into());
            }
            1 => spec.event_types = vec!["signup".into(), "login".into()],
            2 => spec.user_tiers = vec!["enterprise".into()],
            _ => {
                spec.where_ = Some(expressions[owner % expressions.len()].into());
                // Many narrow slices and a few broad ones, as a real installation has; and as there, many ask the same.
                if owner >= NAMED.len() {
                    let (country, least) = (COUNTRIES[owner % COUNTRIES.len()], 60 + owner % 5 * 40);
                    spec.where_ = Some(format!("country == \"{country}\" && amount > {least}"));
                }
            }
        }
        out.push((owner, spec));
    }
    out
}
