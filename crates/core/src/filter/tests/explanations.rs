//! Explanations name the clause that failed and what the event held.

use proptest::prelude::*;
use serde_json::json;

use crate::filter::ast::Literal;
use crate::filter::{Filter, Outcome, arbitrary};

#[test]
fn each_clause_tells_its_outcome_and_what_it_saw() {
    let expr = "country in ['DE'] && device.os == 'iOS' && (amount > 1 || amount < x)";
    let types = vec!["purchase".into(), "refund".into()];
    let filter = Filter::new(types, vec![], Some(Literal::Int(100)), Some(expr)).unwrap();
    let event = json!({"event_type": "purchase", "amount": 50, "country": "FR".repeat(60), "device": {}});
    let explanation = filter.explain_value(&event);
    assert!(!explanation.matches);

    let lines: Vec<String> = explanation
        .clauses
        .iter()
        .map(|clause| {
            let outcome = match &clause.outcome {
                Outcome::True => "true".to_owned(),
                Outcome::False => "false".to_owned(),
                Outcome::Error(error) => format!("error, {error}"),
            };
            let seen: Vec<_> = clause
                .seen
                .iter()
                .map(|seen| format!("{} = {}", seen.path, seen.value.as_deref().unwrap_or("absent")))
                .collect();
            format!("{}: {}: {outcome}; {}", clause.field, clause.text, seen.join(", "))
        })
        .collect();
    let long = format!("\"{}F…", "FR".repeat(39));
    assert_eq!(
        lines,
        [
            "event_types: event_type in [\"purchase\", \"refund\"]: true; event_type = \"purchase\"".to_owned(),
            "min_amount: amount >= 100: false; amount = 50".to_owned(),
            format!("where: country in [\"DE\"]: false; country = {long}"),
            "where: device.os == \"iOS\": error, the event has no `device.os`; device.os = absent".to_owned(),
            "where: amount > 1 || amount < x: true; amount = 50, x = absent".to_owned(),
        ]
    );
    assert_eq!(explanation.failing().count(), 3);
}

#[test]
fn a_filter_that_asks_for_nothing_has_nothing_to_explain() {
    let explanation = Filter::default().explain_value(&json!({}));
    assert!(explanation.matches && explanation.clauses.is_empty());
}

proptest! {
    #[test]
    fn explanations_agree_with_the_oracle(filter in arbitrary::filter(), event in arbitrary::event()) {
        let explanation = filter.explain_value(&event);
        prop_assert_eq!(explanation.matches, filter.matches_value(&event));
        prop_assert_eq!(explanation.matches, explanation.failing().next().is_none());
    }
}
