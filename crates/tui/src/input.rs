//! One line of text being typed: cursor, paste, history.

use ratatui::crossterm::event::KeyCode;

use crate::keymap::Chord;

/// Longest text a field takes, so that a pasted file cannot fill the memory.
pub const TEXT_MAX: usize = 8 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    text: String,
    /// A byte index on a character's border.
    cursor: usize,
}

impl Input {
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut input = Self::default();
        input.paste(text);
        input
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    pub fn set(&mut self, text: &str) {
        *self = Self::new(text);
    }

    /// Line ends become spaces: what is pasted stays one line.
    pub fn paste(&mut self, text: &str) {
        for c in text.trim_end_matches(['\r', '\n']).chars() {
            self.insert(if c.is_control() { ' ' } else { c });
        }
    }

    /// True if the key changed the text or moved the cursor.
    pub fn key(&mut self, chord: Chord) -> bool {
        if let Some(c) = chord.typed() {
            self.insert(c);
            return true;
        }
        match (chord.code(), chord.is_control()) {
            (KeyCode::Backspace, false) => self.remove_back(self.before()),
            (KeyCode::Char('w'), true) => self.remove_back(self.word_start()),
            (KeyCode::Char('u'), true) => self.remove_back(0),
            (KeyCode::Char('k'), true) => self.text.truncate(self.cursor),
            (KeyCode::Delete, false) => {
                let after = self.after();
                self.text.replace_range(self.cursor..after, "");
            }
            (KeyCode::Left, false) => self.cursor = self.before(),
            (KeyCode::Right, false) => self.cursor = self.after(),
            (KeyCode::Left, true) => self.cursor = self.word_start(),
            (KeyCode::Home, _) | (KeyCode::Char('a'), true) => self.cursor = 0,
            (KeyCode::End, _) | (KeyCode::Char('e'), true) => self.cursor = self.text.len(),
            _ => return false,
        }
        true
    }

    fn insert(&mut self, c: char) {
        if self.text.len() + c.len_utf8() <= TEXT_MAX {
            self.text.insert(self.cursor, c);
            self.cursor += c.len_utf8();
        }
    }

    fn remove_back(&mut self, from: usize) {
        self.text.replace_range(from..self.cursor, "");
        self.cursor = from;
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].char_indices().next_back().map_or(0, |(at, _)| at)
    }

    fn after(&self) -> usize {
        self.text[self.cursor..].chars().next().map_or(self.cursor, |c| self.cursor + c.len_utf8())
    }

    fn word_start(&self) -> usize {
        let before = self.text[..self.cursor].trim_end();
        before.char_indices().rev().find(|(_, c)| c.is_whitespace()).map_or(0, |(at, c)| at + c.len_utf8())
    }
}

/// What was typed before, newest last, bounded.
#[derive(Clone, Debug, Default)]
pub struct History {
    lines: Vec<String>,
    at: usize,
}

const HISTORY_MAX: usize = 100;

impl History {
    pub fn push(&mut self, line: &str) {
        if !line.is_empty() {
            self.lines.retain(|l| l != line);
            self.lines.push(line.to_owned());
            if self.lines.len() > HISTORY_MAX {
                self.lines.remove(0);
            }
        }
        self.at = self.lines.len();
    }

    pub fn older(&mut self) -> Option<&str> {
        self.at = self.at.min(self.lines.len()).checked_sub(1)?;
        self.lines.get(self.at).map(String::as_str)
    }

    /// Past the newest there is an empty line.
    pub fn newer(&mut self) -> Option<&str> {
        if self.at >= self.lines.len() {
            return None;
        }
        self.at += 1;
        Some(self.lines.get(self.at).map_or("", String::as_str))
    }

    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[&str]) -> Input {
        let mut input = Input::default();
        for key in keys {
            input.key(Chord::parse(key).unwrap());
        }
        input
    }

    #[test]
    fn edits_at_the_cursor_on_character_borders() {
        assert_eq!(typed(&["a", "é", "日", "left", "backspace", "x"]).text(), "ax日");
        assert_eq!(typed(&["a", "space", "b", "c", "ctrl-w", "d"]).text(), "a d");
        assert_eq!(typed(&["a", "b", "home", "delete"]).text(), "b");
        assert_eq!(typed(&["a", "b", "left", "ctrl-k"]).text(), "a");
    }

    #[test]
    fn paste_stays_one_line_and_is_bounded() {
        let mut input = Input::new("a\nb\n");
        assert_eq!(input.text(), "a b");
        input.paste(&"x".repeat(2 * TEXT_MAX));
        assert_eq!(input.text().len(), TEXT_MAX);
    }

    #[test]
    fn history_walks_both_ways() {
        let mut history = History::default();
        for line in ["one", "two", "one"] {
            history.push(line);
        }
        assert_eq!(history.older(), Some("one"));
        assert_eq!(history.older(), Some("two"));
        assert_eq!(history.older(), None);
        assert_eq!(history.newer(), Some("one"));
        assert_eq!(history.newer(), Some(""));
        assert_eq!(history.newer(), None);
    }
}
