//! `evs filter` offline.

use expect_test::expect;

use crate::{run, run_with};

const EVENTS: &str = r#"{"event_id":"e1","event_type":"purchase","user_tier":"premium","amount":120}
{"event_id":"e2","event_type":"purchase","user_tier":"free","amount":"a lot"}

{"event_id":"e3","event_type":"login"}
"#;

#[test]
fn a_test_tells_which_clause_failed_and_what_it_saw() {
    let args = ["filter", "test", "--type", "purchase", "--where", "amount >= 100", "--event", "-"];
    expect![[r#"
        exit 0
        --- stdout
        line 1: match e1
          + event_type in ["purchase"]   event_type is "purchase"
          + amount >= 100   amount is 120
        line 2: no match e2
          + event_type in ["purchase"]   event_type is "purchase"
          - amount >= 100   amount is "a lot"   error: a string and a number have no order
        line 4: no match e3
          - event_type in ["purchase"]   event_type is "login"
          - amount >= 100   amount is absent   error: the event has no `amount`
        --- stderr
        1 of 3 events match
    "#]]
    .assert_eq(&run_with(&args, EVENTS).all());
}

#[test]
fn nothing_matched_is_exit_code_8() {
    let ran = run_with(&["filter", "test", "--type", "refund", "--event", "-", "-o", "ndjson"], EVENTS);
    assert_eq!(ran.status, 8);
    let first: serde_json::Value = serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((first["matches"].as_bool(), first["event_id"].as_str()), (Some(false), Some("e1")));
}

#[test]
fn mistakes_point_at_their_place() {
    expect![[r#"
        exit 5
        --- stdout
        --- stderr
        error: column 11: a single `=` compares nothing
          | amount >= = 100
          |           ^
          = hint: write == for equal
    "#]]
    .assert_eq(&run_with(&["filter", "test", "--where", "amount >= = 100", "--event", "-"], EVENTS).all());
    let ran = run_with(&["filter", "test", "--type", "a", "--event", "-"], "{\"a\":1}\n{\"a\":1,\"a\":2}\n");
    assert_eq!(ran.status, 5);
    assert!(ran.stderr.contains("standard input, line 2: the event has the key \"a\" twice"), "{}", ran.stderr);
}

#[test]
fn explain_tells_the_canonical_form_and_impossible_filters() {
    expect![[r#"
        exit 0
        --- stdout
        condition  event_type in ["purchase"] && (country in ["DE", "FR"] || !has(test))
        fields     country, event_type, test
        --- stderr
    "#]]
    .assert_eq(
        &run(&["filter", "explain", "--type", "purchase", "--where", "country in ['DE','FR'] || !has(test)"]).all(),
    );
    let ran = run(&["filter", "explain", "--where", "amount > 5 && amount < 3"]);
    assert!(ran.stdout.contains("never"), "{}", ran.stdout);
}

#[test]
fn files_are_checked_before_anything_is_sent() {
    let lines = "{\"subscriber_id\":\"a\"}\n{\"subscriber_id\":\"a\",\"wehre\":\"x\"}\n";
    let ran = run_with(&["filter", "import", "-"], lines);
    assert_eq!(ran.status, 5);
    assert!(ran.stderr.contains("standard input: line 2: unknown field `wehre`"), "{}", ran.stderr);
    let ran = run_with(&["filter", "import"], "{\"subscriber_id\":\"a\",\"where\":\"a ==\"}\n");
    assert!(ran.stderr.contains("error: line 1: "), "{}", ran.stderr);
    let ran = run_with(&["filter", "apply", "-f", "-"], "{\"subscriber_id\":\"a\"}\n");
    assert!(ran.stderr.contains("line 1: the filter has no name"), "{}", ran.stderr);
}
