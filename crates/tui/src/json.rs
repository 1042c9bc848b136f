//! JSON laid out for reading: the order of keys and the digits of numbers stay as they came.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::theme::Role;

/// One line: indented pieces with their meaning.
pub type Line = Vec<(Role, String)>;

/// Lines of a pretty print, at most this many: an event may be a megabyte.
const LINES_MAX: usize = 5_000;

#[must_use]
pub fn pretty(json: &str) -> Vec<Line> {
    let mut out = Printer::default();
    let mut rest = json.trim();
    while let Some(c) = rest.chars().next() {
        if out.lines.len() >= LINES_MAX {
            out.piece(Role::Muted, "(cut here)");
            break;
        }
        let len = match c {
            '"' => string_len(rest),
            '{' | '[' => {
                let close = if c == '{' { '}' } else { ']' };
                let after = rest[1..].trim_start();
                if let Some(tail) = after.strip_prefix(close) {
                    out.piece(Role::Muted, &format!("{c}{close}"));
                    rest = tail.trim_start();
                    continue;
                }
                out.piece(Role::Muted, &c.to_string());
                out.depth += 1;
                out.maps.push(c == '{');
                out.newline();
                1
            }
            '}' | ']' => {
                out.depth = out.depth.saturating_sub(1);
                out.maps.pop();
                out.newline();
                out.piece(Role::Muted, &c.to_string());
                1
            }
            ',' => {
                out.piece(Role::Muted, ",");
                out.newline();
                out.in_value = false;
                1
            }
            ':' => {
                out.piece(Role::Muted, ": ");
                out.in_value = true;
                1
            }
            _ => rest.find([',', '}', ']', ' ', '\n', '\t', '\r']).unwrap_or(rest.len()).max(c.len_utf8()),
        };
        let token = &rest[..len];
        match c {
            '"' => {
                let is_key = out.maps.last() == Some(&true) && !out.in_value;
                out.piece(if is_key { Role::JsonKey } else { Role::JsonString }, token);
            }
            '{' | '[' => out.in_value = false,
            '}' | ']' | ',' | ':' => {}
            '-' | '0'..='9' => out.piece(Role::JsonNumber, token),
            _ => out.piece(Role::JsonLiteral, token),
        }
        rest = rest[len..].trim_start();
    }
    out.newline();
    out.lines
}

/// The text of a line.
#[must_use]
pub fn text(line: &Line) -> String {
    line.iter().map(|(_, piece)| piece.as_str()).collect()
}

#[derive(Default)]
struct Printer {
    lines: Vec<Line>,
    line: Line,
    depth: usize,
    /// For each open bracket, whether it is a map.
    maps: Vec<bool>,
    in_value: bool,
}

impl Printer {
    fn piece(&mut self, role: Role, text: &str) {
        if self.line.is_empty() && self.depth > 0 {
            self.line.push((Role::Text, "  ".repeat(self.depth.min(40))));
        }
        self.line.push((role, text.to_owned()));
    }

    fn newline(&mut self) {
        if !self.line.is_empty() {
            self.lines.push(std::mem::take(&mut self.line));
        }
    }
}

/// The length of a string token with its quotes.
fn string_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// A top-level field as text, for a table's column. Absent and odd values are empty.
#[must_use]
pub fn fields<const N: usize>(json: &str, names: [&str; N]) -> [String; N] {
    let map: std::collections::HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    names.map(|name| match map.get(name).map(|raw| raw.get()) {
        None => String::new(),
        Some(raw) if raw.starts_with('"') => serde_json::from_str(raw).unwrap_or_default(),
        Some(raw) => raw.to_owned(),
    })
}

/// What tells one event from the next first: what has a column of its own is left out, and ids and times, which begin
/// every event and are alike in all, come last.
#[must_use]
pub fn brief(json: &str, left_out: &[&str]) -> String {
    const LAST: [&str; 2] = ["event_id", "timestamp"];
    let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(json) else { return json.to_owned() };
    let is_last = |name: &str| LAST.contains(&name);
    let shown = members.iter().filter(|(name, _)| !left_out.contains(&name.as_ref()));
    let (last, first): (Vec<_>, Vec<_>) = shown.partition(|(name, _)| is_last(name));
    let words = first.into_iter().chain(last).map(|(name, raw)| {
        let raw = raw.get();
        let bare = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
        let is_plain = |text: &&str| !text.is_empty() && !text.contains([' ', '\\', '=']);
        format!("{name}={}", bare.filter(is_plain).unwrap_or(raw))
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The members of an object in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((member.0.0, member.1));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Visitor)
    }
}

/// A name of a member, which is copied only if something in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(json: &str) -> String {
        pretty(json).iter().map(text).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn lays_out_without_changing_what_is_there() {
        let json = r#"{"b":1.50,"a":[true,null,{}],"s":"x\"}, {","o":{"k":-2e3}}"#;
        let expected = "{\n  \"b\": 1.50,\n  \"a\": [\n    true,\n    null,\n    {}\n  ],\n  \"s\": \"x\\\"}, {\",\n  \
                        \"o\": {\n    \"k\": -2e3\n  }\n}";
        assert_eq!(plain(json), expected);
    }

    #[test]
    fn keys_and_values_are_told_apart() {
        let lines = pretty(r#"{"k":"v","l":["w"]}"#);
        assert_eq!(lines[1][1].0, Role::JsonKey);
        assert_eq!(lines[1][3].0, Role::JsonString);
        assert_eq!(lines[3][1].0, Role::JsonString);
    }

    #[test]
    fn broken_json_does_not_panic() {
        for json in ["", "{", "}", "\"abc", "\"a\\", "[1,", "é", "{\"a\":é}", "]]]"] {
            let _ = plain(json);
        }
    }

    #[test]
    fn brief_says_what_differs_first() {
        let json = r#"{"event_id":"e1","user_id":"u","n":1.50,"city":"New York","tag":"a\"b","o":{"k":[1]},"e":""}"#;
        assert_eq!(brief(json, &["user_id"]), r#"n=1.50 city="New York" tag="a\"b" o={"k":[1]} e="" event_id=e1"#);
        assert_eq!(brief(r#"{"timestamp":"t","\u0061":1}"#, &[]), "a=1 timestamp=t");
        for odd in ["[1,2]", "\"x\"", "", "{\"a\":", "{}"] {
            assert_eq!(brief(odd, &[]), if odd == "{}" { "" } else { odd });
        }
    }

    #[test]
    fn columns() {
        assert_eq!(fields(r#"{"a":"x","n":1.5}"#, ["a", "n", "z"]), ["x", "1.5", ""]);
        assert_eq!(fields("not json", ["a"]), [""]);
    }
}
