//! The examples and truth tables of `docs/FILTERS.md` are what the code does.

use evs_core::filter::{Outcome, eval, parse_where};
use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/FILTERS.md");

#[test]
fn every_example_is_accepted_and_can_match() {
    let mut examples = 0;
    for block in PAGE.split("```cel\n").skip(1) {
        let (block, _) = block.split_once("```").expect("the block is closed");
        for line in block.lines() {
            if let Err(error) = parse_where(line) {
                panic!("{}", error.render(line));
            }
            let filter = evs_core::Filter::new(vec![], vec![], None, Some(line)).unwrap();
            assert_eq!(filter.never_matches(), None, "{line}");
            examples += 1;
        }
    }
    assert!(examples > 10, "only {examples} examples were found");
}

#[test]
fn every_row_of_a_truth_table_holds() {
    let mut rows = 0;
    for line in PAGE.lines() {
        // A `|` inside a cell is escaped, so the marks between cells are those with spaces and no backslash.
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
        let [expr, event, expected @ ("true" | "false" | "error")] = cells[..] else { continue };
        let expr = expr.replace("\\|", "|");
        let tree = parse_where(&expr).unwrap_or_else(|error| panic!("{}", error.render(&expr)));
        let event: Value = serde_json::from_str(event).unwrap();
        let found = match eval(&tree, &event) {
            Outcome::True => "true",
            Outcome::False => "false",
            Outcome::Error(_) => "error",
        };
        assert_eq!(found, expected, "{line}");
        rows += 1;
    }
    assert!(rows > 20, "only {rows} rows were found");
}

#[test]
fn every_refused_need_is_refused() {
    let (_, section) = PAGE.split_once("## What is refused").unwrap();
    for expr in ["x + 1 > 2", "a ? b : c", "size(x)", "int(x)", "type(x)", "timestamp(x)", "duration(x)"]
        .into_iter()
        .chain(["tags.exists(t, t == \"a\")", "{\"a\": 1}", "b\"a\"", "x[y]", "x.matches(y)", "(a == 1) == true", ".x"])
    {
        assert!(section.contains(&format!("`{expr}`")), "`{expr}` is not on the page");
        let error = parse_where(expr).expect_err(expr);
        assert!(error.hint.is_some(), "{}", error.render(expr));
    }
}
