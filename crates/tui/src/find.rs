//! The `/` filter: plain text, `!` for what does not have it, `~` for a regular expression.

use regex::{Regex, RegexBuilder};

#[derive(Clone, Debug, Default)]
pub struct Find {
    text: String,
    inverse: bool,
    needle: Needle,
}

#[derive(Clone, Debug, Default)]
enum Needle {
    #[default]
    All,
    /// Case is ignored unless the text has an upper case letter, as `rg -S` does.
    Found(Regex),
    Broken(String),
}

impl Find {
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (inverse, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let pattern = match rest.strip_prefix('~') {
            Some(pattern) => pattern.to_owned(),
            None => regex::escape(rest),
        };
        let needle = if pattern.is_empty() {
            Needle::All
        } else {
            let ignore_case = !pattern.chars().any(char::is_uppercase);
            match RegexBuilder::new(&pattern).case_insensitive(ignore_case).size_limit(1 << 20).build() {
                Ok(regex) => Needle::Found(regex),
                Err(error) => {
                    let told = error.to_string();
                    let last = told.lines().last().unwrap_or("not a regular expression");
                    Needle::Broken(last.trim().trim_start_matches("error: ").to_owned())
                }
            }
        };
        Self { text: text.to_owned(), inverse, needle }
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn is_active(&self) -> bool {
        !matches!(self.needle, Needle::All)
    }

    /// What is wrong with the regular expression; then everything is shown.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match &self.needle {
            Needle::Broken(error) => Some(error),
            _ => None,
        }
    }

    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matches_any(std::iter::once(text))
    }

    /// Something that has several texts.
    pub fn matches_any<'t>(&self, mut texts: impl Iterator<Item = &'t str>) -> bool {
        match &self.needle {
            Needle::Found(regex) => texts.any(|text| regex.is_match(text)) != self.inverse,
            _ => true,
        }
    }

    /// The text that a server can search for as a plain substring.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        let simple = !self.inverse && !self.text.starts_with('~') && !self.text.is_empty();
        simple.then_some(self.text.as_str())
    }

    /// Byte ranges to highlight.
    #[must_use]
    pub fn found(&self, text: &str) -> Vec<(usize, usize)> {
        match &self.needle {
            Needle::Found(regex) if !self.inverse => {
                regex.find_iter(text).filter(|m| !m.is_empty()).take(100).map(|m| (m.start(), m.end())).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_inverse_and_regex() {
        let cases = [
            ("user", "USER_1", true),
            ("User", "user_1", false),
            ("!user", "user_1", false),
            ("!user", "other", true),
            ("~^u.*1$", "user_1", true),
            ("!~^u", "user_1", false),
            ("a.b", "axb", false),
            ("", "anything", true),
            ("!", "anything", true),
        ];
        for (find, text, expected) in cases {
            assert_eq!(Find::new(find).matches(text), expected, "{find} on {text}");
        }
        let texts = || ["one", "two"].into_iter();
        assert!(Find::new("two").matches_any(texts()) && !Find::new("three").matches_any(texts()));
        assert!(!Find::new("!two").matches_any(texts()), "none of them may have it");
    }

    #[test]
    fn a_broken_regex_is_told_and_hides_nothing() {
        let find = Find::new("~(");
        assert!(find.error().is_some());
        assert!(find.matches("x"));
    }
}
