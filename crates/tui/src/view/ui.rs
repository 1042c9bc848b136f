//! What every pane draws with: roles, borders, lines of pieces, and the record of where the mouse can act.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Widget};

use super::Hits;
use crate::app::App;
use crate::format;
use crate::message::{Failure, FailureKind, Target};
use crate::symbols::Symbols;
use crate::theme::{Role, Theme};

pub(super) struct Ui<'a> {
    pub(super) app: &'a App,
    pub(super) sym: &'static Symbols,
    theme: Theme,
    hits: Hits,
    cursor: Option<Position>,
}

impl<'a> Ui<'a> {
    pub(super) fn new(app: &'a App) -> Self {
        let theme = if app.settings.colorless { Theme::Mono } else { app.settings.theme };
        Self { app, sym: app.settings.symbols(), theme, hits: Hits::default(), cursor: None }
    }

    pub(super) fn finish(self) -> (Hits, Option<Position>) {
        (self.hits, self.cursor)
    }

    /// Adds what another one recorded while this one was borrowed by the cells of a table.
    pub(super) fn take_hits(&mut self, other: Ui<'_>) {
        self.hits.areas.extend(other.hits.areas);
    }

    pub(super) fn style(&self, role: Role) -> Style {
        self.theme.style(role)
    }

    pub(super) fn is_colorless(&self) -> bool {
        self.theme == Theme::Mono
    }

    pub(super) fn span(&self, role: Role, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.style(role))
    }

    pub(super) fn hit(&mut self, area: Rect, target: Target) {
        self.hits.add(area, target);
    }

    pub(super) fn set_cursor(&mut self, x: u16, y: u16) {
        self.cursor = Some(Position::new(x, y));
    }

    pub(super) fn rate(&self, per_s: f64) -> String {
        format::rate(per_s, self.app.settings.per_minute)
    }

    pub(super) fn time(&self, then_ms: i64) -> String {
        format::time(self.app.shown_ms(), then_ms, self.app.settings.relative_time)
    }

    /// A bordered pane; gives the area inside. `title` is cut to fit.
    pub(super) fn pane(&mut self, area: Rect, buf: &mut Buffer, pane: usize, title: &[(Role, String)]) -> Rect {
        let focused = self.app.focus == pane;
        let role = if focused && self.app.panes().len() > 1 { Role::BorderFocused } else { Role::Border };
        self.hit(area, Target::Pane(pane));
        let block = Block::bordered().border_set(self.sym.border).border_style(self.style(role));
        let inner = block.inner(area);
        block.render(area, buf);
        if area.width > 4 && area.height > 0 {
            let mut room = usize::from(area.width) - 4;
            let mut spans = Vec::new();
            for (at, (role, text)) in title.iter().enumerate() {
                let text = if at + 1 == title.len() { text.trim_end() } else { text };
                let text = format::cut(text, room, self.sym.ellipsis);
                room -= format::width(&text).min(room);
                spans.push(self.span(*role, text));
            }
            let line = Line::from_iter([Span::raw(" ")].into_iter().chain(spans).chain([Span::raw(" ")]));
            buf.set_line(area.x + 1, area.y, &line, area.width - 2);
        }
        inner
    }

    /// On the border of a pane that hides the others: which of how many, and the key to the next.
    pub(super) fn one_of(&self, area: Rect, buf: &mut Buffer) {
        let n = self.app.panes().len();
        let text = format!(" tab {}/{n} ", self.app.focus + 1);
        let width = u16::try_from(text.len()).unwrap_or(0);
        if n > 1 && area.width > width + 4 && area.height > 1 {
            let line = Rect { x: area.right() - width - 2, y: area.bottom() - 1, width, height: 1 };
            self.put(line, 0, buf, &[(Role::Muted, text)]);
        }
    }

    /// Pieces on one line, cut at the right.
    pub(super) fn put(&self, area: Rect, row: u16, buf: &mut Buffer, pieces: &[(Role, String)]) {
        if row >= area.height {
            return;
        }
        let mut x = area.x;
        let mut room = usize::from(area.width);
        for (role, text) in pieces {
            let text = format::cut(text, room, self.sym.ellipsis);
            let width = format::width(&text);
            buf.set_string(x, area.y + row, &text, self.style(*role));
            x += u16::try_from(width).unwrap_or(0);
            room = room.saturating_sub(width);
            if room == 0 {
                break;
            }
        }
    }

    /// Text in the middle of an empty pane: what is missing and what to do about it.
    pub(super) fn note(&self, area: Rect, buf: &mut Buffer, role: Role, text: &str) {
        let lines = wrap(text, usize::from(area.width.saturating_sub(2)));
        let top = usize::from(area.height).saturating_sub(lines.len()) / 3;
        for (at, line) in lines.iter().enumerate() {
            let row = u16::try_from(top + at).unwrap_or(u16::MAX);
            let room = usize::from(area.width).saturating_sub(format::width(line)) / 2;
            self.put(area, row, buf, &[(Role::Text, " ".repeat(room)), (role, line.clone())]);
        }
    }

    /// What to say when a kind of data could not be had.
    pub(super) fn failure(&self, failure: &Failure) -> String {
        match failure.kind {
            FailureKind::Unsupported => format!("this server does not offer it ({})", failure.why),
            FailureKind::Refused => format!("not allowed: {}", failure.why),
            FailureKind::NotFound => format!("not found: {}", failure.why),
            FailureKind::Unreachable | FailureKind::Rejected => failure.why.clone(),
        }
    }

    /// A sparkline of the values, newest at the right.
    pub(super) fn spark<'v>(&self, values: impl ExactSizeIterator<Item = &'v f64>, width: usize) -> String {
        let skip = values.len().saturating_sub(width);
        let shown: Vec<f64> = values.skip(skip).copied().collect();
        let max = shown.iter().copied().fold(0.0, f64::max);
        let set = &self.sym.spark;
        let levels = [
            set.empty,
            set.one_eighth,
            set.one_quarter,
            set.three_eighths,
            set.half,
            set.five_eighths,
            set.three_quarters,
            set.seven_eighths,
            set.full,
        ];
        let mut out = " ".repeat(width.saturating_sub(shown.len()));
        for value in shown {
            let level = if max > 0.0 { (value / max * 8.0).round().clamp(0.0, 8.0) as usize } else { 0 };
            // What is not nothing is seen.
            out.push_str(levels[if value > 0.0 { level.max(1) } else { 0 }]);
        }
        out
    }
}

/// Words on lines of at most `width` columns; what is longer than a line is broken.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let width = width.max(1);
    for paragraph in text.lines() {
        // The indentation of JSON says what is in what.
        let words = paragraph.trim_start_matches(' ');
        let indent = " ".repeat((paragraph.len() - words.len()).min(width / 2));
        let room = width - indent.len();
        let (mut line, mut is_begun) = (indent.clone(), false);
        for word in words.split(' ') {
            let mut word = word.to_owned();
            if is_begun && format::width(&line) + 1 + format::width(&word) > width {
                lines.push(std::mem::replace(&mut line, indent.clone()));
                is_begun = false;
            }
            while format::width(&word) > room {
                let head = format::cut(&word, room, "");
                if head.is_empty() {
                    break;
                }
                word = word.chars().skip(head.chars().count()).collect();
                lines.push(format!("{indent}{head}"));
            }
            if is_begun {
                line.push(' ');
            }
            line.push_str(&word);
            is_begun = true;
        }
        lines.push(line);
    }
    lines
}

/// The part of `area` at its top, and the rest.
pub(super) fn split_top(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    (Rect { height, ..area }, Rect { y: area.y + height, height: area.height - height, ..area })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_words_and_breaks_what_is_too_long() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("", 3), Vec::<String>::new());
        assert_eq!(wrap("{\n  \"a\": 1,\n}", 20), ["{", "  \"a\": 1,", "}"]);
        assert_eq!(wrap("  one two", 6), ["  one", "  two"]);
        assert_eq!(wrap("日本語", 1), ["日本語"]);
    }
}
