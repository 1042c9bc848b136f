//! Data goes to stdout, talk to stderr; tables for people, JSON for programs.

mod document;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;

use crate::args::{Color, Format};
use crate::exit::Failure;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const MARK: Style = Style::new().invert();
pub(crate) const RED: Style = AnsiColor::Red.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const CYAN: Style = AnsiColor::Cyan.on_default();

/// Colour is decided once for the whole program; the streams strip it where it is not wanted.
pub(crate) fn choose_color(color: Color) {
    let choice = match color {
        // Reads NO_COLOR, CLICOLOR and CLICOLOR_FORCE.
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
}

impl Output {
    /// Writes text and a newline to stdout.
    pub(crate) fn line(self, text: impl AsRef<str>) -> Result<(), Failure> {
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_ref().as_bytes())?;
        stdout.write_all(b"\n")?;
        Ok(stdout.flush()?)
    }

    /// Tells something on stderr, unless `--quiet`.
    pub(crate) fn say(self, text: impl AsRef<str>) {
        if !self.quiet {
            complain(text.as_ref());
        }
    }

    /// Whether the output is for a program.
    pub(crate) fn is_json(self) -> bool {
        matches!(self.format, Format::Json | Format::Ndjson | Format::Yaml | Format::Template(_))
    }

    /// One document: pretty for `json`, a line for `ndjson`, and so on.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = match self.format {
            Format::Ndjson => serde_json::to_string(value)?,
            Format::Yaml => document::yaml(&serde_json::to_value(value)?),
            Format::Template(text) => document::template(text, &serde_json::to_value(value)?),
            _ => serde_json::to_string_pretty(value)?,
        };
        self.line(text)
    }

    /// A list, in whatever format was asked for.
    pub(crate) fn list<T: Serialize>(self, items: &[T], columns: &[Column<T>]) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Yaml => self.json(&items),
            Format::Ndjson | Format::Template(_) => items.iter().try_for_each(|item| self.json(item)),
            Format::Name => items.iter().try_for_each(|item| match columns.first() {
                Some(first) => self.line((first.cell)(item)),
                None => Ok(()),
            }),
            Format::Table => self.table(items, columns.iter().filter(|column| !column.wide)),
            Format::Wide => self.table(items, columns.iter()),
        }
    }

    fn table<'a, T: 'a>(self, items: &[T], columns: impl Iterator<Item = &'a Column<T>>) -> Result<(), Failure> {
        let columns: Vec<_> = columns.collect();
        let width = io::stdout().is_terminal().then(terminal_width);
        let cells: Vec<Vec<String>> =
            items.iter().map(|item| columns.iter().map(|column| one_line(&(column.cell)(item))).collect()).collect();
        let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
        let right: Vec<bool> = columns.iter().map(|column| column.right).collect();
        self.line(render(&names, &right, &cells, width).trim_end_matches('\n'))
    }
}

/// Tells something on stderr, whatever `--quiet` says.
pub(crate) fn complain(text: &str) {
    // If stderr is gone there is nobody left to tell.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// A column of a table; the first one is what `-o name` shows.
pub(crate) struct Column<T> {
    name: &'static str,
    cell: fn(&T) -> String,
    right: bool,
    wide: bool,
}

impl<T> Column<T> {
    pub(crate) const fn new(name: &'static str, cell: fn(&T) -> String) -> Self {
        Self { name, cell, right: false, wide: false }
    }

    /// Numbers.
    pub(crate) const fn right(name: &'static str, cell: fn(&T) -> String) -> Self {
        Self { name, cell, right: true, wide: false }
    }

    /// Only with `-o wide`.
    pub(crate) const fn wide(name: &'static str, cell: fn(&T) -> String) -> Self {
        Self { name, cell, right: false, wide: true }
    }

    pub(crate) const fn right_wide(name: &'static str, cell: fn(&T) -> String) -> Self {
        Self { name, cell, right: true, wide: true }
    }
}

/// Aligned on a terminal, the last column cut to fit; separated by tabs and whole elsewhere.
fn render(names: &[&str], right: &[bool], rows: &[Vec<String>], width: Option<usize>) -> String {
    let mut out = String::new();
    let Some(width) = width else {
        out.push_str(&names.join("\t"));
        out.push('\n');
        for row in rows {
            out.push_str(&row.join("\t"));
            out.push('\n');
        }
        return out;
    };
    let widths: Vec<usize> = names
        .iter()
        .enumerate()
        .map(|(at, name)| rows.iter().map(|row| chars(&row[at])).chain([chars(name)]).max().unwrap_or(0))
        .collect();
    let header = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (number, row) in std::iter::once(&header).chain(rows).enumerate() {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let last = at + 1 == row.len();
            if at > 0 {
                line.push_str("  ");
            }
            let padding = " ".repeat(widths[at].saturating_sub(chars(cell)));
            match (right[at], last) {
                (true, _) => line.extend([padding.as_str(), cell]),
                (false, true) => line.push_str(cell),
                (false, false) => line.extend([cell.as_str(), &padding]),
            }
        }
        let line = cut(&line, width);
        if number == 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{BOLD}{line}{BOLD:#}");
        } else {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.trim_end().to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

fn terminal_width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    told.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))).unwrap_or(100)
}

/// Text from events and names cannot break a table or the terminal.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `-` where there is nothing.
pub(crate) fn or_dash(text: Option<impl ToString>) -> String {
    text.map_or_else(|| "-".to_owned(), |text| text.to_string())
}

/// RFC 3339, UTC, to the second; milliseconds do not help a person here.
pub(crate) fn time_ms(ms: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000))
        .ok()
        .and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok())
        .unwrap_or_else(|| ms.to_string())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn rows() -> Vec<Vec<String>> {
        [["user_1", "7"], ["a-much-longer-subscriber", "12345"]].map(|row| row.map(String::from).to_vec()).to_vec()
    }

    #[test]
    fn a_terminal_gets_aligned_columns() {
        let text = render(&["SUBSCRIBER", "LAG"], &[false, true], &rows(), Some(80));
        let plain = text.replace(&format!("{BOLD}"), "").replace(&format!("{BOLD:#}"), "");
        expect![[r"
            SUBSCRIBER                  LAG
            user_1                        7
            a-much-longer-subscriber  12345
        "]]
        .assert_eq(&plain);
        assert!(render(&["SUBSCRIBER", "LAG"], &[false, true], &rows(), Some(20)).contains("a-much-longer-subsc…"));
    }

    #[test]
    fn a_pipe_gets_tabs_and_everything() {
        let text = render(&["SUBSCRIBER", "LAG"], &[false, true], &rows(), None);
        assert_eq!(text, "SUBSCRIBER\tLAG\nuser_1\t7\na-much-longer-subscriber\t12345\n");
    }

    #[test]
    fn events_cannot_write_escape_codes() {
        assert_eq!(one_line("a\u{1b}[31mb\nc"), "a [31mb c");
    }
}
