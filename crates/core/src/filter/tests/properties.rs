//! What holds for every filter and every event.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use crate::Event;
use crate::filter::ast::{Expr, Term};
use crate::filter::{Filter, Outcome, arbitrary, eval, parse_where};

/// Negation normal form, and two-valued logic over literals that hold only if they are plainly true: the reading that
/// the module promises and the match index builds on.
fn holds(expr: &Expr, negated: bool, event: &Value) -> bool {
    match (expr, negated) {
        (Expr::Not(inner), _) => holds(inner, !negated, event),
        (Expr::Or(operands), false) | (Expr::And(operands), true) => operands.iter().any(|e| holds(e, negated, event)),
        (Expr::And(operands), false) | (Expr::Or(operands), true) => operands.iter().all(|e| holds(e, negated, event)),
        (literal, _) => eval(literal, event) == Outcome::from(!negated),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_canonical_text_reads_back_as_the_same_tree(expr in arbitrary::expr()) {
        let text = expr.to_string();
        let reread = parse_where(&text).map_err(|error| TestCaseError::fail(error.render(&text)))?;
        prop_assert_eq!(&reread, &expr, "{}", text);
        prop_assert_eq!(reread.to_string(), text);
    }

    #[test]
    fn errors_need_no_bookkeeping_in_negation_normal_form(expr in arbitrary::expr(), event in arbitrary::event()) {
        let outcome = eval(&expr, &event);
        prop_assert_eq!(outcome.is_true(), holds(&expr, false, &event));
        prop_assert_eq!(outcome == Outcome::False, holds(&expr, true, &event));
    }

    #[test]
    fn all_parts_of_a_filter_must_hold(filter in arbitrary::filter(), event in arbitrary::event()) {
        let one_of = |values: &[Arc<str>], field: &str| {
            values.is_empty() || values.iter().any(|value| event[field].as_str() == Some(value))
        };
        let rich = filter.min_amount.as_ref().is_none_or(|min| {
            Filter { min_amount: Some(min.clone()), ..Filter::default() }.matches_value(&event)
        });
        let expected = one_of(&filter.event_types, "event_type")
            && one_of(&filter.user_tiers, "user_tier")
            && rich
            && filter.where_.as_ref().is_none_or(|expr| eval(expr, &event).is_true());
        prop_assert_eq!(filter.matches_value(&event), expected);
    }

    #[test]
    fn generated_events_are_events(value in arbitrary::event()) {
        let event = Event::parse(Bytes::from(value.to_string()));
        prop_assert_eq!(event.map(|event| event.value()), Ok(value));
    }

    /// Whatever is typed, the answer is a tree or an error that can be shown; never a panic.
    #[test]
    fn any_text_is_read_or_refused_with_a_place(
        pieces in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(vec![
                "x", "a.b", "has", "in", "true", "null", "&&", "||", "!", "==", "<", "=", "(", ")", "[", "]", ",", ".",
                "-", "1", "2.5", "0x", "5u", "\"a\"", "'b'", "r'", "'''", "\"", "\\", "startsWith", "matches", "not", "é", "\n",
            ]).prop_map(str::to_owned),
            1 => any::<String>(),
        ], 0..12),
        glue in prop::sample::select(vec!["", " "]),
    ) {
        let text = pieces.join(glue);
        match parse_where(&text) {
            Ok(expr) => prop_assert_eq!(parse_where(&expr.to_string()), Ok(expr)),
            Err(error) => {
                prop_assert!(text.get(error.span.clone()).is_some(), "{:?} is no place in {:?}", error.span, text);
                prop_assert!(!error.message.is_empty() && !error.render(&text).is_empty());
            }
        }
    }
}

/// The generators are worth something only if they meet each other.
#[test]
fn generated_filters_match_some_events_and_not_others() {
    let filters = arbitrary::sample(&arbitrary::filter(), 1, 300);
    let events = arbitrary::sample(&arbitrary::event(), 2, 300);
    let matches = filters.iter().flat_map(|f| events.iter().filter(|e| f.matches_value(e))).count();
    assert!((2_000..60_000).contains(&matches), "{matches} of 90000 pairs match");

    let conditions = arbitrary::sample(&arbitrary::condition(), 3, 300);
    let mut outcomes = [0; 3];
    for (condition, event) in conditions.iter().zip(&events) {
        outcomes[match eval(condition, event) {
            Outcome::True => 0,
            Outcome::False => 1,
            Outcome::Error(_) => 2,
        }] += 1;
    }
    assert!(outcomes.iter().all(|&count| count > 20), "true, false, error: {outcomes:?}");
    assert!(conditions.iter().any(|c| matches!(c, Expr::Bare(Term::Literal(_)))));
}
