//! What the tests of the match index share: the oracle, and events written in unusual ways.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use evs_core::index::{Match, Target};
use evs_core::{Event, Filter, FilterId};
use serde_json::Value;

/// What the index must answer: each filter asked on its own.
#[derive(Clone, Default)]
pub(crate) struct Oracle(pub(crate) BTreeMap<FilterId, (Target, Filter)>);

impl Oracle {
    pub(crate) fn matches(&self, event: &Event) -> Vec<Match> {
        let event = event.value();
        let wanted = self.0.iter().filter(|(_, (_, filter))| filter.matches_value(&event));
        let mut all: Vec<Match> = wanted.map(|(id, (target, _))| Match { target: *target, filter: *id }).collect();
        all.sort_unstable();
        all
    }
}

/// A source of choices that depends on its seed alone.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The event as some producer might write it: with escapes, white space, other forms of numbers, in any order of keys.
pub(crate) fn written(value: &Value, seed: u64) -> Event {
    let mut text = String::new();
    write_value(value, &mut Dice(seed), &mut text);
    Event::parse(Bytes::from(text.clone())).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn write_value(value: &Value, dice: &mut Dice, out: &mut String) {
    space(dice, out);
    match value {
        Value::String(text) => write_string(text, dice, out),
        Value::Number(number) => write_number(number, dice, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write_value(item, dice, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            for at in (1..members.len()).rev() {
                members.swap(at, usize::try_from(dice.below(at as u64 + 1)).unwrap_or_default());
            }
            out.push('{');
            for (at, (key, member)) in members.into_iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                space(dice, out);
                write_string(key, dice, out);
                space(dice, out);
                out.push(':');
                write_value(member, dice, out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) => out.push_str(&value.to_string()),
    }
    space(dice, out);
}

fn space(dice: &mut Dice, out: &mut String) {
    if dice.below(8) == 0 {
        out.push_str([" ", "\n", "\t ", "\r\n"][usize::try_from(dice.below(4)).unwrap_or_default()]);
    }
}

fn write_string(text: &str, dice: &mut Dice, out: &mut String) {
    let escaped = dice.below(4) == 0;
    out.push('"');
    for c in text.chars() {
        if escaped && dice.below(2) == 0 || c.is_control() || matches!(c, '"' | '\\') {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a string takes all");
            }
        } else {
            out.push(c);
        }
    }
    out.push('"');
}

fn write_number(number: &serde_json::Number, dice: &mut Dice, out: &mut String) {
    let text = number.to_string();
    out.push_str(&text);
    if text == "0" {
        out.push_str(["", ".0", "e5"][usize::try_from(dice.below(3)).unwrap_or_default()]);
    } else if number.is_i64() || number.is_u64() {
        out.push_str(["", "", "", ".0", "e0", ".000E+0", "0e-1"][usize::try_from(dice.below(7)).unwrap_or_default()]);
    } else if !text.contains(['e', 'E']) {
        out.push_str(["", "00", "e0"][usize::try_from(dice.below(3)).unwrap_or_default()]);
    }
}
