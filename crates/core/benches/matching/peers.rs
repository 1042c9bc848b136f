//! The engines measured beside the index: a plain scan, and the a-tree crate.

use std::hint::black_box;

use a_tree::{ATree, AttributeDefinition};
use evs_core::filter::ast::Expr;
use evs_core::filter::eval;

use crate::Options;
use crate::workloads::{Sample, SampleEvent, TIERS, Typed, type_name, user_name};

/// Asks one filter after the other. Typed filters are packed into 16 bytes, the best a scan can do without SIMD by hand;
/// others are evaluated as trees on a parsed event.
pub(crate) fn scan(options: &Options, samples: &[Sample], events: &[SampleEvent]) -> f64 {
    let typed: Option<Vec<Packed>> = samples.iter().map(|sample| sample.typed.as_ref().map(Packed::of)).collect();
    let mut found: Vec<u32> = Vec::new();
    if let Some(typed) = typed {
        return options.per_event(events.len(), |at| {
            let event = &events[at];
            found.clear();
            for (id, filter) in (0..).zip(&typed) {
                if filter.matches(event) {
                    found.push(id);
                }
            }
            black_box(&found);
        });
    }
    let conditions: Vec<Expr> = samples.iter().map(|sample| sample.filter.condition()).collect();
    let values: Vec<_> = events.iter().take(100).map(|sample| sample.event.value()).collect();
    options.per_event(values.len(), |at| {
        found.clear();
        for (id, condition) in (0..).zip(&conditions) {
            if eval(condition, &values[at]).is_true() {
                found.push(id);
            }
        }
        black_box(&found);
    })
}

struct Packed {
    types: u32,
    tiers: u32,
    user: u32,
    cents: u32,
}

impl Packed {
    fn of(typed: &Typed) -> Self {
        let mask = |values: &[usize]| values.iter().fold(0, |mask, value| mask | 1 << value);
        let any = |mask: u32| if mask == 0 { u32::MAX } else { mask };
        Self {
            types: any(mask(&typed.types)),
            tiers: any(mask(&typed.tiers)),
            user: typed.user.map_or(u32::MAX, |user| u32::try_from(user).expect("users are few")),
            cents: typed.cents,
        }
    }

    fn matches(&self, event: &SampleEvent) -> bool {
        self.cents <= event.cents
            && self.types & 1 << event.event_type != 0
            && self.tiers & 1 << event.tier != 0
            && (self.user == u32::MAX || self.user as usize == event.user)
    }
}

/// The a-tree crate, with events made before the clock starts.
pub(crate) fn atree(options: &Options, samples: &[Sample], events: &[SampleEvent]) -> f64 {
    let attributes = [
        AttributeDefinition::string("event_type"),
        AttributeDefinition::string("user_tier"),
        AttributeDefinition::string("user_id"),
        AttributeDefinition::integer("amount"),
    ];
    let mut tree = ATree::<u32>::new(&attributes).expect("the attributes are distinct");
    for (id, sample) in (0..).zip(samples) {
        let Some(typed) = &sample.typed else { return f64::NAN };
        tree.insert(&id, &text(typed)).expect("the text is in a-tree's language");
    }
    let events: Vec<_> = events
        .iter()
        .map(|sample| {
            let mut event = tree.make_event();
            event.with_string("event_type", &type_name(sample.event_type)).expect("declared");
            event.with_string("user_tier", TIERS[sample.tier]).expect("declared");
            event.with_string("user_id", &user_name(sample.user)).expect("declared");
            event.with_integer("amount", i64::from(sample.cents)).expect("declared");
            event.build().expect("complete")
        })
        .collect();
    options.per_event(events.len(), |at| {
        let report = tree.search(&events[at]).expect("the event is complete");
        black_box(report.matches().len());
    })
}

fn text(typed: &Typed) -> String {
    let list = |values: Vec<String>| values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(", ");
    let mut parts = vec![format!("amount >= {}", typed.cents)];
    if !typed.types.is_empty() {
        parts.push(format!("event_type in [{}]", list(typed.types.iter().map(|n| type_name(*n)).collect())));
    }
    if !typed.tiers.is_empty() {
        parts.push(format!("user_tier in [{}]", list(typed.tiers.iter().map(|n| TIERS[*n].to_owned()).collect())));
    }
    if let Some(user) = typed.user {
        parts.push(format!("user_id in ['{}']", user_name(user)));
    }
    parts.join(" and ")
}
