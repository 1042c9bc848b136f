//! What expressions mean, over events written out.

use serde_json::Value;

use crate::filter::{Outcome, eval, parse_where};

/// `expected` is "true", "false" or "error".
#[track_caller]
fn check(expr: &str, event: &str, expected: &str) {
    let tree = parse_where(expr).unwrap_or_else(|error| panic!("{}", error.render(expr)));
    let event: Value = serde_json::from_str(event).unwrap();
    let found = match eval(&tree, &event) {
        Outcome::True => "true",
        Outcome::False => "false",
        Outcome::Error(_) => "error",
    };
    assert_eq!(found, expected, "`{expr}` over {event}");
}

#[test]
fn an_absent_field_is_an_error_that_others_may_absorb() {
    check("x == 1", "{}", "error");
    check("x != 1", "{}", "error");
    check("!(x == 1)", "{}", "error");
    check("x in [1]", "{}", "error");
    check("1 in [x, 1]", "{}", "error");
    check("x", "{}", "error");
    check("x == 1 || true", "{}", "true");
    check("x == 1 && false", "{}", "false");
    check("x == 1 || false", "{}", "error");
    check("x == 1 && true", "{}", "error");
    check("!(x == 1 && y == 1)", r#"{"y": 2}"#, "true");
    check("x.y == 1", r#"{"x": {}}"#, "error");
    check("x.y == 1", r#"{"x": 1}"#, "error");
}

#[test]
fn types_are_unequal_but_have_no_order() {
    check("x == 1", r#"{"x": "1"}"#, "false");
    check("x != 1", r#"{"x": "1"}"#, "true");
    check("x < 1", r#"{"x": "1"}"#, "error");
    check("!(x < 1)", r#"{"x": "1"}"#, "error");
    check("x in [1, 'a']", r#"{"x": null}"#, "false");
    check("x < 1", r#"{"x": null}"#, "error");
    check("x == null", r#"{"x": null}"#, "true");
    check("x == 1.0", r#"{"x": 1}"#, "true");
    check("x == 1u", r#"{"x": 1.0}"#, "true");
    check("x.startsWith('1')", r#"{"x": 1}"#, "error");
    check("x && true", r#"{"x": 1}"#, "error");
    check("false < true", "{}", "true");
    check("x < y", r#"{"x": [1], "y": [2]}"#, "error");
    check("x == y", r#"{"x": [1, {"a": 2}], "y": [1.0, {"a": 2.0}]}"#, "true");
    check("x == [1, 'a']", r#"{"x": [1, "a"]}"#, "true");
}

#[test]
fn integers_and_doubles_compare_exactly() {
    check("x == 9007199254740992.0", r#"{"x": 9007199254740993}"#, "false");
    check("x > 9007199254740992.0", r#"{"x": 9007199254740993}"#, "true");
    check("x < 18446744073709551616.0", r#"{"x": 18446744073709551615}"#, "true");
    check("x == 18446744073709551615", r#"{"x": 18446744073709551615}"#, "true");
    check("x > 9223372036854775807", r#"{"x": 9223372036854775808}"#, "true");
    check("x == -9223372036854775808", r#"{"x": -9223372036854775808}"#, "true");
    check("x == 0.1234567890123456789", r#"{"x": 0.12345678901234568}"#, "true");
    check("x == 5e-324", r#"{"x": 4.9406564584124654e-324}"#, "true");
}

#[test]
fn in_reads_lists_and_keys() {
    check("'a' in tags", r#"{"tags": ["b", "a"]}"#, "true");
    check("'a' in tags", r#"{"tags": []}"#, "false");
    check("'a' in tags", r#"{"tags": {"a": null}}"#, "true");
    check("1 in tags", r#"{"tags": {"1": null}}"#, "false");
    check("'a' in tags", r#"{"tags": "abc"}"#, "error");
    check("x in [y, 3]", r#"{"x": 1, "y": 1.0}"#, "true");
    check("x in []", r#"{"x": 1}"#, "false");
    check("x in [1, 2,]", r#"{"x": 2}"#, "true");
}

#[test]
fn has_looks_at_the_last_part_only() {
    check("has(x)", "{}", "false");
    check("has(x)", r#"{"x": null}"#, "true");
    check("!has(x)", "{}", "true");
    check("has(x.y)", r#"{"x": {}}"#, "false");
    check("has(x.y)", "{}", "error");
    check("!has(x.y)", "{}", "error");
    check("has(x.y)", r#"{"x": "text"}"#, "error");
    check("has(x['a-b'])", r#"{"x": {"a-b": 0}}"#, "true");
    check("has(x[1])", r#"{"x": [0]}"#, "false");
    check("has(x[0].y)", r#"{"x": [{"y": 0}]}"#, "true");
}

#[test]
fn paths_lead_through_objects_and_lists() {
    check("device.os.name == 'iOS'", r#"{"device": {"os": {"name": "iOS"}}}"#, "true");
    check("headers['x-id'] == 7", r#"{"headers": {"x-id": 7}}"#, "true");
    check("items[1].sku == 'b'", r#"{"items": [{"sku": "a"}, {"sku": "b"}]}"#, "true");
    check("items[2].sku == 'b'", r#"{"items": []}"#, "error");
    check("items[0] == 'a'", r#"{"items": {"0": "a"}}"#, "error");
    check("items.first == 'a'", r#"{"items": ["a"]}"#, "error");
    check("a.package == 1 && a.for == 1", r#"{"a": {"package": 1, "for": 1}}"#, "true");
}

#[test]
fn functions_read_text() {
    check("x.startsWith('ab') && x.endsWith('yz') && x.contains('--')", r#"{"x": "ab--yz"}"#, "true");
    check("x.contains(y)", r#"{"x": "abc", "y": "b"}"#, "true");
    check("x.matches('^a.c$')", r#"{"x": "abc"}"#, "true");
    check("x.matches('(?i)B')", r#"{"x": "abc"}"#, "true");
    check(r"x.matches(r'(?-u:\b)c')", r#"{"x": "éc"}"#, "true");
    check("'abc'.startsWith(x)", r#"{"x": "ab"}"#, "true");
    check("x.startsWith(y)", r#"{"x": "abc"}"#, "error");
}

#[test]
fn precedence_is_cels() {
    check("true || false && false", "{}", "true");
    check("(true || false) && false", "{}", "false");
    check("!false && false", "{}", "false");
    check("!!!false", "{}", "true");
    check("!x.startsWith('a')", r#"{"x": "b"}"#, "true");
    check("(x) == (1)", r#"{"x": 1}"#, "true");
    check("x == 1 // comment || y\n && y == 2", r#"{"x": 1, "y": 2}"#, "true");
}
