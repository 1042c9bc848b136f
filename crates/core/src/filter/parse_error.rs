//! Why a `where` expression is refused: the place, the reason and what to write instead.

use std::fmt;
use std::ops::Range;

/// A refusal of a `where` expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The bytes of the text that are at fault; empty at a place where something is missing.
    pub span: Range<usize>,
    /// The line of the start of the span, from 1.
    pub line: usize,
    /// The character of that line at which the span starts, from 1.
    pub column: usize,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Text left and right of the place that a rendering shows: a line on a terminal.
const SHOWN_CHARS_MAX: usize = 60;

impl ParseError {
    pub(super) fn new(text: &str, span: Range<usize>, message: impl Into<String>, hint: Option<String>) -> Self {
        let line_start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..span.start].chars().count() + 1,
            message: message.into(),
            hint,
            span,
        }
    }

    /// Three lines for a person: the message, the line of the text, a caret under the place; and the hint, if any.
    ///
    /// `text` is the text that was parsed.
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        let source = text.lines().nth(self.line - 1).unwrap_or_default();
        // A tab or an escape code would move the caret away from what it points at.
        let chars: Vec<char> = source.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let at = (self.column - 1).min(chars.len());
        let from = at.saturating_sub(SHOWN_CHARS_MAX);
        let to = (at + SHOWN_CHARS_MAX).min(chars.len());
        let shown: String = chars[from..to].iter().collect();
        let width = text.get(self.span.clone()).map_or(1, |fault| fault.lines().next().unwrap_or("").chars().count());
        let carets = "^".repeat(width.clamp(1, (to - at).max(1)));
        let mut out = format!("{self}\n  | {shown}\n  | {}{carets}", " ".repeat(at - from));
        if let Some(hint) = &self.hint {
            out.push_str("\n  = hint: ");
            out.push_str(hint);
        }
        out
    }
}

/// The place and the message; the hint is apart so that a caller can show it apart.
impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 1 {
            write!(f, "line {}, ", self.line)?;
        }
        write!(f, "column {}: {}", self.column, self.message)
    }
}

impl std::error::Error for ParseError {}
