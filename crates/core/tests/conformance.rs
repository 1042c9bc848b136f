//! CEL's own conformance cases: each passes, or is one of the differences that `docs/FILTERS.md` explains.

use evs_core::filter::{eval, parse_where};
use serde_json::Value;

/// Where we differ from the CEL libraries on purpose: they round an integer to a double before comparing it with one,
/// so that 9223372036854775807 equals 9223372036854775808.0, and we compare exactly.
const EXACT_NOT_ROUNDED: [&str; 4] = [
    "comparisons/lt_literal/not_lt_dyn_int_big_lossy_double",
    "comparisons/gt_literal/not_gt_dyn_big_double_int",
    "comparisons/lte_literal/lte_dyn_big_double_int",
    "comparisons/gte_literal/gte_dyn_int_big_lossy_double",
];

/// What a line may need and we refuse when the filter is created: nothing.
const REFUSED_NEEDS: [&str; 0] = [];

#[test]
fn every_line_passes_or_is_a_documented_difference() {
    let (mut passed, mut refused, mut exact) = (0, 0, 0);
    for line in include_str!("data/cel_spec.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let expr = case["expr"].as_str().unwrap();
        let tree = match parse_where(expr) {
            Ok(tree) => tree,
            Err(error) => {
                let needs = case["needs"].as_array().unwrap();
                let documented = needs.iter().any(|need| REFUSED_NEEDS.iter().any(|refused| need == refused));
                assert!(documented && error.hint.is_some(), "{}\nin {line}", error.render(expr));
                refused += 1;
                continue;
            }
        };
        let reread = parse_where(&tree.to_string()).unwrap_or_else(|error| panic!("{error} in `{tree}`, from {line}"));
        assert_eq!(reread, tree, "the canonical text means something else: {line}");

        let source = case["source"].as_str().unwrap();
        if eval(&tree, &case["event"]).is_true() == case["match"].as_bool().unwrap() {
            passed += 1;
        } else {
            let name = source.trim_start_matches("cel-spec ").split(' ').next().unwrap();
            assert!(EXACT_NOT_ROUNDED.contains(&name), "the answer is not CEL's: {line}");
            exact += 1;
        }
    }
    assert_eq!((passed, refused, exact), (1014, 0, 16));
}
