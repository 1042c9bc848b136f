//! Any text as a `where` expression: no panic, and what is accepted survives printing.
#![no_main]

use evs_core::filter::parse_where;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(expr) = parse_where(text) {
        let printed = expr.to_string();
        assert_eq!(parse_where(&printed).as_ref(), Ok(&expr), "{printed}");
    }
});
