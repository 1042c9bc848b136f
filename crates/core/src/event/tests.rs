//! What is an event and what is not, with the place and the code of each refusal.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::limits::{EVENT_BYTES_MAX, EVENT_DEPTH_MAX};

fn parse(text: impl AsRef<[u8]>) -> Result<Event, EventError> {
    Event::parse(Bytes::copy_from_slice(text.as_ref()))
}

#[test]
fn events_keep_their_bytes() {
    for text in [
        "{}",
        r#"{"event_id":"1","amount":1.50,"nested":{"a":[{"a":1},{"a":2}]}}"#,
        "{\n  \"pretty\" : true\n}",
        r#"{"a":{"b":1},"b":{"a":1}}"#,
        r#"{"emoji":"😀","escaped":"\ud83d\ude00"}"#,
        r#"{"big":123456789012345678901234567890,"small":-0}"#,
    ] {
        assert_eq!(parse(text).map(|event| event.bytes().clone()), Ok(Bytes::from(text)));
    }
    assert_eq!(parse(" \r\n\t{} \n").unwrap().bytes(), "{}");
}

#[test]
fn refusals_tell_code_and_place() {
    let cases: &[(&[u8], &str, Option<usize>)] = &[
        (b"", "invalid_json", Some(0)),
        (b"  ", "invalid_json", Some(0)),
        (b"{", "invalid_json", Some(0)),
        (b"{\"a\":1}}", "invalid_json", Some(7)),
        (b"{\"a\":1} {\"b\":2}", "invalid_json", Some(8)),
        (b"{\"a\":NaN}", "invalid_json", Some(5)),
        (b"{\"a\":Infinity}", "invalid_json", Some(5)),
        (b"{\"a\":1e999}", "invalid_json", Some(9)),
        (b"{\"a\":01}", "invalid_json", Some(6)),
        (b"{\"a\":1,}", "invalid_json", Some(7)),
        (b"{'a':1}", "invalid_json", Some(1)),
        (b"{\n\"a\": tru}", "invalid_json", Some(10)),
        (b"{\"a\":\"\n\"}", "invalid_json", Some(7)),
        (b"{\"a\":\"\\ud800\"}", "invalid_json", Some(12)),
        (b"\xef\xbb\xbf{}", "invalid_json", Some(0)),
        (b"[1]", "not_an_object", None),
        (b"\"text\"", "not_an_object", None),
        (b"-1", "not_an_object", None),
        (b"null", "not_an_object", None),
        (b"{\"a\":\"\xff\"}", "invalid_utf8", Some(6)),
        (b"{\"a\":1,\"a\":2}", "duplicate_key", Some(9)),
        (b"{\"a\":1,\"\\u0061\":2}", "duplicate_key", Some(14)),
        (b"{\"x\":[{\"b\":1,\"b\":1}]}", "duplicate_key", Some(15)),
    ];
    for (text, code, offset) in cases {
        let error = parse(text).expect_err(&String::from_utf8_lossy(text));
        assert_eq!((error.code(), error.offset()), (*code, *offset), "{} for {}", error, String::from_utf8_lossy(text));
    }
}

#[test]
fn limits_hold_to_the_byte_and_the_level() {
    let sized = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    assert!(parse(sized(EVENT_BYTES_MAX)).is_ok());
    assert_eq!(parse(sized(EVENT_BYTES_MAX + 1)), Err(EventError::TooLarge { bytes: EVENT_BYTES_MAX + 1 }));

    let lists = |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1));
    assert!(parse(lists(EVENT_DEPTH_MAX)).is_ok());
    assert_eq!(parse(lists(EVENT_DEPTH_MAX + 1)).unwrap_err().code(), "too_deep");
    assert_eq!(parse(lists(100_000)).unwrap_err().code(), "too_deep");
}

#[test]
fn many_keys_are_checked_too() {
    let keys = |count: usize| (0..count).map(|i| format!("\"k{i}\":{{}}")).collect::<Vec<_>>().join(",");
    for count in [31, 32, 33, 34, 20_000] {
        assert!(parse(format!("{{{}}}", keys(count))).is_ok());
        for repeated in [0, count / 2, count - 1] {
            let error = parse(format!("{{{},\"k{repeated}\":0}}", keys(count))).unwrap_err();
            assert_eq!(error.code(), "duplicate_key", "{count} keys, k{repeated} twice");
        }
    }
}

#[test]
fn fields_are_read_lazily() {
    let event = parse(r#"{"n":{"event_id":"inner"},"event_id":"e\"1","user_id":42,"x":null,"y":[1]}"#).unwrap();
    assert_eq!(event.event_id().as_deref(), Some("e\"1"));
    assert_eq!(event.user_id().as_deref(), Some("42"));
    for absent in ["x", "y", "n", "z"] {
        assert_eq!(event.text(absent), None, "{absent}");
    }
    let event = parse(r#"{"\u0065vent_id":"plain"}"#).unwrap();
    assert!(matches!(event.event_id(), Some(Cow::Borrowed("plain"))));
}

#[test]
fn a_single_line_means_the_same() {
    let event = parse("{\r\n \"a\": \"x\\ny\"\n}").unwrap();
    let line = event.single_line();
    assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), event.value());
    assert!(matches!(parse("{}").unwrap().single_line(), Cow::Borrowed(b"{}")));
}

/// JSON text with repeated keys now and then, and whether any object repeats one.
fn document() -> impl Strategy<Value = (String, bool)> {
    let leaf = prop_oneof![
        Just("1".to_owned()),
        Just("-2.5e3".to_owned()),
        Just("null".to_owned()),
        any::<String>().prop_map(|text| json!(text).to_string()),
    ]
    .prop_map(|text| (text, false));
    let key = prop_oneof!["[ab\\\\\"é]{0,2}", "[a-z]{6}"];
    let object = move |inner: BoxedStrategy<(String, bool)>| {
        prop::collection::vec((key.clone(), inner), 0..5).prop_map(|members| {
            let unique: HashSet<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
            let repeated = unique.len() < members.len() || members.iter().any(|(_, (_, repeated))| *repeated);
            let members: Vec<_> = members.iter().map(|(key, (text, _))| format!("{}: {text}", json!(key))).collect();
            (format!("{{{}}}", members.join(",")), repeated)
        })
    };
    let element = leaf.prop_recursive(4, 24, 5, {
        let object = object.clone();
        move |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|items| {
                let texts: Vec<_> = items.iter().map(|(text, _)| text.as_str()).collect();
                (format!("[{}]", texts.join(", ")), items.iter().any(|(_, repeated)| *repeated))
            });
            prop_oneof![object(inner.boxed()), list]
        }
    });
    object(element.boxed())
}

proptest! {
    #[test]
    fn exactly_the_repeated_keys_are_refused((text, repeated) in document()) {
        match parse(&text) {
            Ok(event) => {
                prop_assert!(!repeated);
                prop_assert_eq!(event.value(), serde_json::from_str::<Value>(&text).unwrap());
            }
            Err(error) => prop_assert!(repeated && error.code() == "duplicate_key", "{error} for {text}"),
        }
    }

    #[test]
    fn arbitrary_bytes_are_judged_as_serde_json_does(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let object = serde_json::from_slice::<Value>(&bytes).is_ok_and(|value| value.is_object());
        prop_assert!(!object || parse(&bytes).is_ok() || parse(&bytes).unwrap_err().code() == "duplicate_key");
        prop_assert!(object || parse(&bytes).is_err());
    }
}
