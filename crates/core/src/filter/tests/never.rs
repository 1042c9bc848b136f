//! Filters that no event can match are told when certain, and never wrongly.

use proptest::prelude::*;

use crate::filter::ast::Expr;
use crate::filter::{Filter, arbitrary, parse_where};

fn filter(expr: &str) -> Filter {
    Filter { where_: Some(parse_where(expr).unwrap_or_else(|e| panic!("{}", e.render(expr)))), ..Filter::default() }
}

#[test]
fn contradictions_are_told_with_the_conditions_at_fault() {
    for (expr, reason) in [
        ("false", "`false` is never true"),
        ("1 > 2", "`1 > 2` is never true"),
        ("x < null", "`x < null` is never true: the two sides have no order"),
        ("x in []", "`x in []` is never true"),
        ("amount > 10 && amount < 5", "no `amount` is both `amount > 10` and `amount < 5`"),
        ("amount > 5 && amount <= 5", "no `amount` is both `amount > 5` and `amount <= 5`"),
        ("!(amount <= 5) && 5 >= amount", "no `amount` is both `!(amount <= 5)` and `5 >= amount`"),
        ("t == 'a' && t == 'b'", "no value of `t` fulfils both `t == \"a\"` and `t == \"b\"`"),
        (
            "t in ['a', 'b'] && t != 'a' && !(t == 'b')",
            "no value of `t` fulfils both `t in [\"a\", \"b\"]` and `t != \"a\" && !(t == \"b\")`",
        ),
        ("t == 'a' && t > 1", "no value of `t` fulfils both `t == \"a\"` and `t > 1`"),
        ("t == 'a' && t.matches('^b')", "no value of `t` fulfils both `t == \"a\"` and `t.matches(\"^b\")`"),
        ("x && !x", "no value of `x` fulfils both `x` and `!x`"),
        ("x > 1 && x.startsWith('a')", "`x > 1` and `x.startsWith(\"a\")` need `x` to be of different types"),
        ("x.startsWith('a') && x.startsWith('b')", "no `x` is both `x.startsWith(\"a\")` and `x.startsWith(\"b\")`"),
        ("!has(x) && x == 1", "`x == 1` needs `x` to be there, and `!has(x)` needs it not to be"),
        ("!has(x) && x.y < z", "`x.y < z` needs `x` to be there, and `!has(x)` needs it not to be"),
        (
            "x == 1 && x == 2 || x in []",
            "no alternative of `x == 1 && x == 2 || x in []` can be true together with the rest",
        ),
        ("n > 5 && (n < 5 || n == 5)", "no alternative of `n < 5 || n == 5` can be true together with the rest"),
        (
            "tags[1] == 'a' && tags[1] == 'b'",
            "no value of `tags[1]` fulfils both `tags[1] == \"a\"` and `tags[1] == \"b\"`",
        ),
    ] {
        assert_eq!(filter(expr).never_matches().as_deref(), Some(reason), "`{expr}`");
    }
    let typed = Filter { event_types: vec!["purchase".into()], ..filter("event_type == 'refund' && amount > 1") };
    let reason = "no value of `event_type` fulfils both `event_type in [\"purchase\"]` and `event_type == \"refund\"`";
    assert_eq!(typed.never_matches().as_deref(), Some(reason));
}

#[test]
fn possible_filters_are_left_alone() {
    for expr in [
        "true",
        "x == 1 || x == 2",
        "x > 1 && x < 2",
        "x >= 1 && x <= 1.0",
        "x == 1 && y == 2",
        "x != 1 && x != 2",
        "!has(x) || x == 1",
        "!has(x) && (has(y) || x == 1)",
        "!has(x.y) && has(x)",
        "x.startsWith('a') && x.startsWith('ab') && x.endsWith('b')",
        "x == 1 && x in [1.0]",
        "x == y && y == 1",
        "'a' in x && 'b' in x",
        "x == 1 && x == 2 || true",
    ] {
        assert_eq!(filter(expr).never_matches(), None, "`{expr}`");
    }
    assert_eq!(Filter::default().never_matches(), None);
}

/// A long filter costs a bounded time, and gives up rather than guess.
#[test]
fn the_search_is_bounded() {
    let values: Vec<_> = (0..500).map(|i| format!("\"{i}\"")).collect();
    let alternatives: Vec<_> = (0..100).map(|i| format!("x != \"{i}\"")).collect();
    let expr = format!("x in [{}] && ({})", values.join(","), alternatives.join(" || "));
    assert_eq!(filter(&expr).never_matches(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_told_is_certain(
        filters in prop::collection::vec(contradictory(), 20),
        events in prop::collection::vec(arbitrary::event(), 40),
    ) {
        for filter in filters {
            if let Some(reason) = filter.never_matches() {
                for event in &events {
                    prop_assert!(!filter.matches_value(event), "{} matches {event}, but {reason}", filter.condition());
                }
            }
        }
    }
}

/// Conditions on one field, so narrow that the values below settle which of them can hold together.
fn narrow() -> impl Strategy<Value = String> {
    let literals = ["0", "1", "1.0", "1.5", "2u", "'a'", "'ab'", "'ba'", "true", "false", "null"];
    let mut conditions: Vec<String> = ["has(x)", "x", "has(x.y)", "x.y == 1", "x in ['a', 1, true]", "x in [null]"]
        .into_iter()
        .chain(["x.matches('b')", "'ab'.contains(x)", "'a' in x", "1 in [x, 2]"])
        .map(str::to_owned)
        .collect();
    for literal in literals {
        for op in ["==", "!=", "<", "<=", ">", ">="] {
            conditions.push(format!("x {op} {literal}"));
            conditions.push(format!("{literal} {op} x"));
        }
    }
    for function in ["startsWith", "endsWith", "contains"] {
        conditions.extend(["''", "'a'", "'b'", "'ab'", "'ba'"].map(|text| format!("x.{function}({text})")));
    }
    let condition = (prop::sample::select(conditions), any::<bool>())
        .prop_map(|(condition, negated)| if negated { format!("!({condition})") } else { condition })
        .boxed();
    let either = (condition.clone(), condition.clone()).prop_map(|(a, b)| format!("({a} || {b})"));
    prop::collection::vec(prop_oneof![4 => condition, 1 => either], 1..4).prop_map(|parts| parts.join(" && "))
}

fn values_around() -> Vec<serde_json::Value> {
    let values = serde_json::json!([
        null, true, false, -1, 0, 0.5, 1, 1.25, 1.5, 1.75, 2, 3, "", "a", "aa", "ab", "aba", "abab", "b", "ba", "bab", "c",
        [], ["a"], {}, {"a": 1}, {"y": 1}, {"y": 2}
    ]);
    let present = values.as_array().unwrap().iter().map(|value| serde_json::json!({"x": value}));
    present.chain([serde_json::json!({})]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn what_is_told_of_one_field_holds_for_every_value(expr in narrow()) {
        let filter = filter(&expr);
        if let Some(reason) = filter.never_matches() {
            for event in values_around() {
                prop_assert!(!filter.matches_value(&event), "`{expr}` matches {event}, but {reason}");
            }
        }
    }
}

/// Filters with several conditions, which contradict each other more often than those of `arbitrary::filter`.
fn contradictory() -> impl Strategy<Value = Filter> {
    let many = prop::collection::vec(arbitrary::condition(), 2..5).prop_map(Expr::And);
    (arbitrary::filter(), prop_oneof![many, arbitrary::expr()])
        .prop_map(|(filter, expr)| Filter { where_: Some(expr), ..filter })
}

#[test]
fn random_filters_contradict_themselves_often_enough_to_test() {
    let filters = arbitrary::sample(&contradictory(), 7, 1_000);
    let told = filters.iter().filter(|filter| filter.never_matches().is_some()).count();
    assert!((100..900).contains(&told), "{told} of 1000 filters are told to never match");
}
