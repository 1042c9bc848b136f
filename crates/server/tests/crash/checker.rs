//! The outside checker: knows only what was sent, what was acknowledged, and what arrived.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

/// What the producer knows of one event.
#[derive(Clone, Debug)]
pub(crate) struct Produced {
    pub id: u64,
    pub key: String,
    pub event: Value,
    /// `None`: no answer came, so it may be in the log, once.
    pub acknowledged: bool,
}

/// What one consumer was handed, in order, across all its restarts. Holes that were told count as they were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    pub ids: Vec<u64>,
    pub gaps: Vec<String>,
    /// Deliveries that were told, with their exact numbers, as lost to a retention that may cut here.
    pub cut: u64,
}

/// A filter that the checker evaluates by itself, on the parsed event, with no code of the server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub spec: &'static str,
    pub matches: fn(&Value) -> bool,
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or("")
}

fn amount(event: &Value) -> f64 {
    event["amount"].as_f64().unwrap_or(f64::NAN)
}

/// The filters of the campaign; each subscriber has one or two of them.
pub(crate) const WANTED: [Wanted; 5] = [
    Wanted {
        spec: r#"{"event_types":["purchase"],"min_amount":50}"#,
        matches: |event| text(event, "event_type") == "purchase" && amount(event) >= 50.0,
    },
    Wanted {
        spec: r#"{"user_tiers":["premium","enterprise"]}"#,
        matches: |event| ["premium", "enterprise"].contains(&text(event, "user_tier")),
    },
    Wanted {
        spec: r#"{"where":"event_type == \"login\" || (amount > 100 && user_tier != \"free\")"}"#,
        matches: |event| {
            text(event, "event_type") == "login" || (amount(event) > 100.0 && text(event, "user_tier") != "free")
        },
    },
    Wanted { spec: r#"{"where":"n >= 0"}"#, matches: |_| true },
    Wanted {
        spec: r#"{"event_types":["click","login"],"where":"key in [\"k1\", \"k3\"]"}"#,
        matches: |event| {
            ["click", "login"].contains(&text(event, "event_type")) && ["k1", "k3"].contains(&text(event, "key"))
        },
    },
];

/// What is wrong, and what was counted.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub lost: u64,
    pub doubled: u64,
    pub phantom: u64,
    pub disordered: u64,
    pub delivered: u64,
    pub must: u64,
    pub examples: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.phantom + self.disordered == 0
    }

    fn note(&mut self, text: String) {
        if self.examples.len() < 10 {
            self.examples.push(text);
        }
    }
}

/// The ids that a subscriber must get: acknowledged and wanted.
pub(crate) fn must(produced: &[Produced], wanted: &[Wanted]) -> BTreeSet<u64> {
    let wants = |event: &Value| wanted.iter().any(|wanted| (wanted.matches)(event));
    produced.iter().filter(|event| event.acknowledged && wants(&event.event)).map(|event| event.id).collect()
}

/// Holds what a consumer received against what was produced.
pub(crate) fn check(verdict: &mut Verdict, name: &str, produced: &[Produced], wanted: &[Wanted], received: &Received) {
    let by_id: HashMap<u64, &Produced> = produced.iter().map(|event| (event.id, event)).collect();
    let must = must(produced, wanted);
    verdict.must += must.len() as u64;
    verdict.delivered += received.ids.len() as u64;
    let mut seen = HashSet::new();
    let mut last_of_key: BTreeMap<&str, u64> = BTreeMap::new();
    for id in &received.ids {
        let Some(event) = by_id.get(id) else {
            verdict.phantom += 1;
            verdict.note(format!("{name} got {id}, which nobody sent"));
            continue;
        };
        if !wanted.iter().any(|wanted| (wanted.matches)(&event.event)) {
            verdict.phantom += 1;
            verdict.note(format!("{name} got {id}, which it does not want: {}", event.event));
        }
        if !seen.insert(*id) {
            verdict.doubled += 1;
            verdict.note(format!("{name} got {id} again"));
            continue;
        }
        // Ids of a key grow in the order in which they were sent.
        if let Some(before) = last_of_key.insert(&event.key, *id)
            && before > *id
        {
            verdict.disordered += 1;
            verdict.note(format!("{name} got {id} of key {} after {before}", event.key));
        }
    }
    for id in must.difference(&seen.iter().copied().collect()).skip(received.cut as usize) {
        verdict.lost += 1;
        verdict.note(format!("{name} never got {id}: {}", by_id[id].event));
    }
    for gap in &received.gaps {
        verdict.lost += 1;
        verdict.note(format!("{name} was told of a gap although nothing may be lost here: {gap}"));
    }
}
