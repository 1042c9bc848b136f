//! The typed fields: what they ask for and how they are refused.

use std::sync::Arc;

use bytes::Bytes;

use crate::filter::ast::Literal;
use crate::filter::{Filter, FilterError};
use crate::{Event, limits};

fn new(types: &[&str], tiers: &[&str], min: Option<Literal>, where_: Option<&str>) -> Result<Filter, FilterError> {
    let boxed = |values: &[&str]| values.iter().map(|value| Arc::from(*value)).collect();
    Filter::new(boxed(types), boxed(tiers), min, where_)
}

#[test]
fn the_condition_joins_what_is_given() {
    let condition = |filter: Result<Filter, FilterError>| filter.unwrap().condition().to_string();
    assert_eq!(condition(new(&[], &[], None, None)), "true");
    assert_eq!(condition(new(&[], &[], Some(Literal::Double(99.5)), None)), "amount >= 99.5");
    assert_eq!(
        condition(new(&["a", "b"], &["premium"], Some(Literal::Int(100)), Some("x == 1 && (y || z)"))),
        "event_type in [\"a\", \"b\"] && user_tier in [\"premium\"] && amount >= 100 && x == 1 && (y || z)"
    );
    assert_eq!(condition(new(&["a"], &[], None, Some("y || z"))), "event_type in [\"a\"] && (y || z)");
}

#[test]
fn events_match_by_their_fields() {
    let filter = new(&["purchase"], &["premium"], Some(Literal::Int(100)), None).unwrap();
    let matches = |text: &'static str| filter.matches(&Event::parse(Bytes::from(text)).unwrap());
    assert!(matches(r#"{"event_type":"purchase","user_tier":"premium","amount":100.0}"#));
    assert!(!matches(r#"{"event_type":"purchase","user_tier":"premium","amount":99.99}"#));
    assert!(!matches(r#"{"event_type":"purchase","user_tier":"premium","amount":"100"}"#));
    assert!(!matches(r#"{"event_type":"purchase","user_tier":"premium"}"#));
    assert!(!matches(r#"{"event_type":"refund","user_tier":"premium","amount":100}"#));
}

#[test]
fn refusals_name_the_field() {
    let refused = |filter: Result<Filter, FilterError>| {
        let error = filter.unwrap_err();
        (error.field(), error.to_string())
    };
    let many: Vec<&str> = vec!["a"; limits::LIST_VALUES_MAX + 1];
    let long = "a".repeat(limits::LITERAL_BYTES_MAX + 1);
    assert_eq!(
        refused(new(&many, &[], None, None)),
        (
            "event_types",
            "event_types has 1025 values, more than the 1024 allowed: split it over several filters".into()
        )
    );
    assert_eq!(
        refused(new(&["a"], &["b", &long], None, None)),
        ("user_tiers", "user_tiers[1] has 1025 bytes, more than the 1024 allowed: shorten it".into())
    );
    assert_eq!(
        refused(new(&[""], &[], None, None)),
        ("event_types", "event_types[0] is empty: leave it out, or leave event_types out to take any".into())
    );
    for min in [Literal::Null, Literal::String("100".into()), Literal::Double(f64::NAN)] {
        assert_eq!(refused(new(&[], &[], Some(min), None)).0, "min_amount");
    }
    assert_eq!(
        refused(new(&[], &[], None, Some("x = 1"))),
        ("where", "where: column 3: a single `=` compares nothing: write == for equal".into())
    );
}
