//! What the parser refuses, and how it tells: the place, the reason and what to write instead.

use evs_core::filter::{ParseError, parse_where};
use evs_core::limits::{
    LIST_VALUES_MAX, LITERAL_BYTES_MAX, PATH_SEGMENTS_MAX, REGEX_BYTES_MAX, WHERE_BYTES_MAX, WHERE_DEPTH_MAX,
    WHERE_NODES_MAX,
};

/// The file reads like a session: an expression after `>`, and what is shown for it.
#[test]
fn refusals_are_shown_as_recorded() {
    let recorded = include_str!("data/refusals.txt");
    let shown: Vec<String> = recorded
        .lines()
        .filter_map(|line| line.strip_prefix("> "))
        .map(|expr| match parse_where(expr) {
            Ok(tree) => format!("> {expr}\naccepted as {tree}\n"),
            Err(error) => format!("> {expr}\n{}\n", error.render(expr)),
        })
        .collect();
    let shown = shown.join("\n");
    assert!(shown == recorded, "the refusals changed; if they should, record this:\n{shown}");
}

#[track_caller]
fn refused(expr: &str) -> ParseError {
    parse_where(expr).expect_err("the expression is accepted")
}

#[test]
fn an_empty_expression_is_not_a_silent_everything() {
    for expr in ["", " \n", "// a comment"] {
        let error = refused(expr);
        assert_eq!(error.message, "the expression is empty");
        assert_eq!(error.hint.as_deref(), Some("leave `where` out to take every event, or write true"));
    }
    assert_eq!(refused("x == 'a\nb'").message, "the string is not closed");
}

#[test]
fn limits_hold_to_the_unit() {
    #[track_caller]
    fn check(allowed: &str, refused_text: &str, message: &str) {
        assert!(parse_where(allowed).is_ok(), "{:?}", parse_where(allowed));
        assert_eq!(refused(refused_text).message, message);
    }
    let padded = |bytes: usize| format!("x{}", " ".repeat(bytes - 1));
    check(
        &padded(WHERE_BYTES_MAX),
        &padded(WHERE_BYTES_MAX + 1),
        "the expression has 8193 bytes, more than the 8192 allowed",
    );
    let nested = |levels: usize| format!("{}x{}", "(".repeat(levels), ")".repeat(levels));
    check(&nested(WHERE_DEPTH_MAX), &nested(WHERE_DEPTH_MAX + 1), "the expression nests deeper than 32 levels");
    let joined = |operands: usize| vec!["x"; operands].join("&&");
    check(
        &joined(WHERE_NODES_MAX / 2),
        &joined(WHERE_NODES_MAX / 2 + 1),
        "the expression has more than 512 operators and operands",
    );
    let list = |values: usize| format!("x in [{}]", vec!["1"; values].join(","));
    check(&list(LIST_VALUES_MAX), &list(LIST_VALUES_MAX + 1), "the list has more than 1024 values");
    let string = |bytes: usize| format!("x == '{}'", "a".repeat(bytes));
    check(
        &string(LITERAL_BYTES_MAX),
        &string(LITERAL_BYTES_MAX + 1),
        "the string has 1025 bytes, more than the 1024 allowed",
    );
    let path = |parts: usize| vec!["x"; parts].join(".");
    check(&path(PATH_SEGMENTS_MAX), &path(PATH_SEGMENTS_MAX + 1), "the path has more than 16 parts");
    let pattern = |bytes: usize| format!("x.matches('{}')", "a".repeat(bytes));
    check(
        &pattern(REGEX_BYTES_MAX),
        &pattern(REGEX_BYTES_MAX + 1),
        "the pattern does not compile: it has 257 bytes, more than the 256 allowed",
    );
    assert!(refused("x.matches('((a{100}){100}){100}')").message.contains("once compiled"));
    assert!(parse_where(&format!("{}x", "!".repeat(WHERE_BYTES_MAX - 1))).is_ok(), "`!` cancels and does not nest");
}

#[test]
fn the_caret_finds_its_line() {
    let expr = "x == 1 &&\n\ty = 2 &&\n z == 3";
    let error = refused(expr);
    assert_eq!((error.line, error.column, error.span.clone()), (2, 4, 13..14));
    let shown =
        "line 2, column 4: a single `=` compares nothing\n  |  y = 2 &&\n  |    ^\n  = hint: write == for equal";
    assert_eq!(error.render(expr), shown);

    let long = format!("{} = 1", "x".repeat(500));
    assert!(refused(&long).render(&long).lines().all(|line| line.chars().count() < 140));
}
