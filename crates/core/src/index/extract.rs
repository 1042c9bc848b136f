//! Reads the wanted fields from an event's bytes in one pass, and stops at the last of them.
//!
//! The bytes are those of a valid event (see [`crate::Event::parse`]): an object whose keys are unique at every level,
//! so the first occurrence of a key is the only one. On other bytes the result is meaningless, but nothing panics.

use super::fields::{Field, Node, Tree};
use super::number::Number;
use super::scan::Scanner;

/// What an event has at a field.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) enum Value {
    #[default]
    Absent,
    Null,
    Bool(bool),
    Number(Number),
    /// A string without escapes: a span of the event's bytes.
    Text(Span),
    /// A string that had escapes: a span of [`Values::decoded`].
    Decoded(Span),
    List(Span),
    Map(Span),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The values of one event by field.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    by_field: Vec<Value>,
    found: Vec<Field>,
    decoded: Vec<u8>,
}

impl Values {
    #[inline]
    pub(super) fn get(&self, field: Field) -> Value {
        self.by_field.get(field.at()).copied().unwrap_or_default()
    }

    /// The fields that the event has.
    pub(super) fn found(&self) -> &[Field] {
        &self.found
    }

    /// The text of a string value.
    #[inline]
    pub(super) fn text<'a>(&'a self, value: Value, event: &'a [u8]) -> Option<&'a [u8]> {
        match value {
            Value::Text(span) => Some(span.of(event)),
            Value::Decoded(span) => Some(span.of(&self.decoded)),
            _ => None,
        }
    }

    fn clear(&mut self, fields: usize) {
        for field in self.found.drain(..) {
            self.by_field[field.at()] = Value::Absent;
        }
        self.by_field.resize(fields, Value::Absent);
        self.decoded.clear();
    }

    fn set(&mut self, field: Field, value: Value) {
        self.by_field[field.at()] = value;
        self.found.push(field);
    }

    /// Reads the fields of `tree` from an event's bytes.
    pub(super) fn extract(&mut self, tree: &Tree, event: &[u8]) {
        self.clear(tree.fields());
        let root = tree.node(0);
        if root.keys_wanted() > 0 {
            self.object(tree, root, &mut Scanner::new(event), true);
        }
    }

    /// Reads an object; at the top it stops once the wanted keys are seen, below it goes on to the closing brace.
    fn object(&mut self, tree: &Tree, node: &Node, scanner: &mut Scanner<'_>, top: bool) -> Option<()> {
        scanner.expect(b'{')?;
        let mut wanted = node.keys_wanted();
        if scanner.peek()? == b'}' {
            return scanner.expect(b'}');
        }
        let mut next = 0;
        loop {
            let (key, escaped) = scanner.string()?;
            let key = key.of(scanner.bytes());
            let child = if escaped { node.key(decode(key)?.as_bytes()) } else { node.key_from(&mut next, key) };
            scanner.expect(b':')?;
            match child {
                Some(child) => {
                    self.value(tree, tree.node(child), scanner)?;
                    wanted -= 1;
                    if wanted == 0 {
                        return if top { Some(()) } else { scanner.skip_rest(1) };
                    }
                }
                None => scanner.skip()?,
            }
            match scanner.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn list(&mut self, tree: &Tree, node: &Node, scanner: &mut Scanner<'_>) -> Option<()> {
        scanner.expect(b'[')?;
        if scanner.peek()? == b']' {
            return scanner.expect(b']');
        }
        let mut wanted = node.positions.iter().peekable();
        for position in 0.. {
            match wanted.next_if(|(at, _)| *at == position) {
                Some((_, child)) => {
                    self.value(tree, tree.node(*child), scanner)?;
                    if wanted.peek().is_none() {
                        return scanner.skip_rest(1);
                    }
                }
                None => scanner.skip()?,
            }
            match scanner.next()? {
                b',' => {}
                _ => break,
            }
        }
        Some(())
    }

    fn value(&mut self, tree: &Tree, node: &Node, scanner: &mut Scanner<'_>) -> Option<()> {
        let first = scanner.peek()?;
        let start = scanner.at();
        let value = match first {
            b'"' => {
                let (span, escaped) = scanner.string()?;
                if escaped && node.field.is_some() { self.decode(span.of(scanner.bytes()))? } else { Value::Text(span) }
            }
            b'{' | b'[' => {
                let map = first == b'{';
                if map && node.keys_wanted() > 0 {
                    self.object(tree, node, scanner, false)?;
                } else if !map && !node.positions.is_empty() {
                    self.list(tree, node, scanner)?;
                } else {
                    scanner.skip()?;
                }
                let span = Span { start, end: scanner.at() };
                if map { Value::Map(span) } else { Value::List(span) }
            }
            b't' | b'f' | b'n' => {
                scanner.skip()?;
                match first {
                    b'n' => Value::Null,
                    _ => Value::Bool(first == b't'),
                }
            }
            _ => Value::Number(scanner.number()?),
        };
        if let Some(field) = node.field {
            self.set(field, value);
        }
        Some(())
    }

    fn decode(&mut self, raw: &[u8]) -> Option<Value> {
        let text = decode(raw)?;
        let start = u32::try_from(self.decoded.len()).ok()?;
        self.decoded.extend_from_slice(text.as_bytes());
        Some(Value::Decoded(Span { start, end: u32::try_from(self.decoded.len()).ok()? }))
    }
}

/// The text of a string's raw inside. Escapes are rare, so this is left to the parser that knows them all.
pub(super) fn decode(raw: &[u8]) -> Option<String> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).ok()
}
