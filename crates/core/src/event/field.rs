//! Reading one top-level field without reading past it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A string's content or a number as written; None if the field is absent or anything else.
pub(super) fn text<'e>(bytes: &'e [u8], name: &str) -> Option<Cow<'e, str>> {
    let raw = raw(bytes, name)?.get();
    match raw.as_bytes().first()? {
        b'"' => match raw.get(1..raw.len() - 1) {
            Some(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
            _ => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        },
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(raw)),
        _ => None,
    }
}

/// The bytes of a field's value. The search stops at the key, which is exact because keys are unique.
fn raw<'e>(bytes: &'e [u8], name: &str) -> Option<&'e RawValue> {
    let mut found = None;
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    // Stopping early looks like an unfinished object to the reader, so its verdict says nothing; `found` does.
    let _ = serde::Deserializer::deserialize_map(&mut reader, Search { name, found: &mut found });
    found
}

struct Search<'n, 's, 'e> {
    name: &'n str,
    found: &'s mut Option<&'e RawValue>,
}

impl<'e> Visitor<'e> for Search<'_, '_, 'e> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'e>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(matches) = map.next_key_seed(IsKey(self.name))? {
            if matches {
                *self.found = Some(map.next_value()?);
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Compares a key in place, so that no key is copied.
struct IsKey<'n>(&'n str);

impl<'e> DeserializeSeed<'e> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'e>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
