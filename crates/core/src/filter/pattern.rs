//! The regexes of `matches(...)`, compiled within limits.

use std::cell::RefCell;

use regex::{Regex, RegexBuilder};

use crate::limits::{REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX};

/// Compiled patterns that a thread keeps: an oracle run over many events would otherwise compile for each.
const KEPT_MAX: usize = 16;

/// Nested groups of a pattern, because the regex crate's own bound of 250 is more than a person writes.
const NESTING_MAX: u32 = 32;

/// Compiles a pattern, to be searched for anywhere in a text (`Regex::is_match`), as CEL's `matches` does.
///
/// The regex crate is linear in the text, so a pattern costs memory at most; the limits bound that.
///
/// # Errors
///
/// One line that says what is wrong with the pattern.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > REGEX_BYTES_MAX {
        return Err(format!("it has {} bytes, more than the {REGEX_BYTES_MAX} allowed", pattern.len()));
    }
    RegexBuilder::new(pattern)
        .size_limit(REGEX_COMPILED_BYTES_MAX)
        .dfa_size_limit(REGEX_COMPILED_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes once compiled"),
            other => last_line(&other.to_string()),
        })
}

/// Whether the pattern is found in the text, with the same verdict as [`compile`] on the pattern.
pub(super) fn is_match(pattern: &str, text: &str) -> Result<bool, String> {
    thread_local! {
        static KEPT: RefCell<Vec<(Box<str>, Regex)>> = const { RefCell::new(Vec::new()) };
    }
    KEPT.with_borrow_mut(|kept| {
        if let Some((_, regex)) = kept.iter().find(|(key, _)| **key == *pattern) {
            return Ok(regex.is_match(text));
        }
        let regex = compile(pattern)?;
        let found = regex.is_match(text);
        if kept.len() == KEPT_MAX {
            kept.remove(0);
        }
        kept.push((pattern.into(), regex));
        Ok(found)
    })
}

/// The regex crate draws the pattern over several lines and ends with the reason.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message);
    line.trim().trim_start_matches("error: ").to_owned()
}
