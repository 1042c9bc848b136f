//! Valid input made strange: trees of JSON whose nodes are exchanged, and bytes that are flipped, cut and repeated.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

/// What byte inputs are spiced with.
const WORDS: [&[u8]; 24] = [
    b"null",
    b"NaN",
    b"-0",
    b"1e999",
    b"9007199254740993",
    b"\"\"",
    b"\\u0000",
    b"\\ud800",
    b"{\"a\":1,\"a\":2}",
    b"[[[[[[[[",
    b"]}",
    b"\xff\xfe",
    b"\xc3\x28",
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"%00",
    b"%2e%2e/",
    b"&&",
    b"matches \"(a+)+$\"",
    b"transfer-encoding: chunked\r\n",
    b"content-length: 18446744073709551616\r\n",
    b"\"t\":\"ack\"",
    b"-1",
];

/// Nothing that a caller would send on purpose.
fn strange(rng: &mut StdRng) -> Value {
    match rng.random_range(0..14) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(f64::MAX),
        5 => json!(""),
        6 => json!("\u{0}\u{202e}é🦀"),
        7 => json!("x".repeat(rng.random_range(1..3000))),
        8 => json!([]),
        9 => json!({}),
        10 => json!({ "": { "": "" } }),
        11 => (0..rng.random_range(1..100)).fold(json!(1), |inner, _| json!([inner])),
        12 => json!("amount > 1 && (country in [\"DE\"] || !has(a.b[0]))"),
        _ => Value::Array((0..rng.random_range(1..40)).map(|n| json!(n)).collect()),
    }
}

/// A tree in which up to three nodes were exchanged, removed, renamed or added.
pub(crate) fn tree(rng: &mut StdRng, mut value: Value) -> Value {
    for _ in 0..rng.random_range(0..=3) {
        change(rng, &mut value);
    }
    value
}

fn change(rng: &mut StdRng, value: &mut Value) {
    let here = rng.random_bool(0.15);
    match value {
        Value::Object(fields) if !here && !fields.is_empty() => {
            let at = rng.random_range(0..fields.len());
            let Some(name) = fields.keys().nth(at).cloned() else { return };
            match rng.random_range(0..6) {
                0 => _ = fields.remove(&name),
                1 => _ = fields.insert(format!("{name}x"), strange(rng)),
                2 => _ = fields.insert(name, strange(rng)),
                _ => change(rng, &mut fields[&name]),
            }
        }
        Value::Array(items) if !here && !items.is_empty() => {
            let at = rng.random_range(0..items.len());
            match rng.random_range(0..5) {
                0 => _ = items.remove(at),
                1 => items.push(strange(rng)),
                _ => change(rng, &mut items[at]),
            }
        }
        Value::String(text) if !here && !text.is_empty() && rng.random_bool(0.6) => {
            let changed = bytes(rng, text.as_bytes());
            *text = String::from_utf8_lossy(&changed).into_owned();
        }
        _ => *value = strange(rng),
    }
}

/// Bytes after one to six cuts, repetitions, insertions and flips.
pub(crate) fn bytes(rng: &mut StdRng, seed: &[u8]) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..rng.random_range(1..=6) {
        let at = rng.random_range(0..=out.len());
        let to = rng.random_range(at..=out.len().min(at + 24));
        match rng.random_range(0..7) {
            0 if at < out.len() => out[at] ^= 1 << rng.random_range(0..8),
            1 if at < out.len() => out[at] = rng.random(),
            2 => _ = out.drain(at..to),
            3 => {
                let again = out[at..to].repeat(rng.random_range(1..8));
                _ = out.splice(at..at, again);
            }
            4 => out.truncate(at.max(1)),
            5 => _ = out.splice(at..at, std::iter::repeat_n(rng.random(), rng.random_range(1..200))),
            _ => _ = out.splice(at..to, WORDS[rng.random_range(0..WORDS.len())].iter().copied()),
        }
    }
    out
}
