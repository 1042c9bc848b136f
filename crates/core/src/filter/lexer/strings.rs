//! String literals: two quotes, tripled or not, raw or with CEL's escapes.

use super::{Kind, Lexer};
use crate::filter::parse_error::ParseError;
use crate::limits::LITERAL_BYTES_MAX;

const ESCAPES: &str = "the escapes are \\n \\r \\t \\a \\b \\f \\v \\\\ \\? \\\" \\' \\` \\xHH \\uHHHH \\UHHHHHHHH and \\ooo; \
                       a raw string r\"...\" has none";

impl<'t> Lexer<'t> {
    /// The string that starts `prefix` bytes ahead; a prefix is there only if it is raw.
    pub(super) fn string(&mut self, prefix: usize) -> Result<Kind<'t>, ParseError> {
        let start = self.at;
        let raw = prefix > 0;
        self.at += prefix;
        let single = &self.rest()[..1];
        let triple = single.repeat(3);
        let delimiter = if self.rest().starts_with(&triple) { &triple } else { single };
        self.at += delimiter.len();
        let mut content = String::new();
        loop {
            if self.rest().starts_with(delimiter) {
                self.at += delimiter.len();
                break;
            }
            match self.rest().chars().next() {
                Some('\\') if raw => self.raw_escape(&mut content),
                Some('\\') => content.push(self.escape()?),
                Some(c) if delimiter.len() == 3 || !matches!(c, '\n' | '\r') => {
                    content.push(c);
                    self.at += c.len_utf8();
                }
                _ => {
                    let hint = format!("close it with {delimiter} or, to quote a quote, write \\{single}");
                    return Err(self.error(start..self.at, "the string is not closed", &hint));
                }
            }
        }
        if content.len() > LITERAL_BYTES_MAX {
            let message = format!("the string has {} bytes, more than the {LITERAL_BYTES_MAX} allowed", content.len());
            return Err(self.error(start..self.at, message, ""));
        }
        Ok(Kind::String(content.into()))
    }

    /// In a raw string a backslash is itself, but a quote after it still does not close the string.
    fn raw_escape(&mut self, content: &mut String) {
        let end = self.rest().chars().nth(1).filter(|c| !matches!(c, '\n' | '\r')).map_or(1, |c| 1 + c.len_utf8());
        content.push_str(&self.rest()[..end]);
        self.at += end;
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let start = self.at;
        let Some(letter) = self.rest().chars().nth(1) else {
            return Err(self.error(start..start + 1, "the string is not closed", "a backslash itself is written \\\\"));
        };
        let (digits_at, count, radix) = match letter {
            'x' | 'X' => (2, 2, 16),
            'u' => (2, 4, 16),
            'U' => (2, 8, 16),
            '0'..='3' => (1, 3, 8),
            _ => {
                let plain = match letter {
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\x0b',
                    '\\' | '?' | '"' | '\'' | '`' => letter,
                    _ => {
                        let span = start..start + 1 + letter.len_utf8();
                        return Err(self.error(span, "unknown escape in a string", ESCAPES));
                    }
                };
                self.at += 2;
                return Ok(plain);
            }
        };
        let end = digits_at + count;
        let digits = self.rest().get(digits_at..end).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
        let Some(code) = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok()) else {
            let message = format!("the escape \\{letter} is too short or has a wrong digit");
            return Err(self.error(start..start + 1 + letter.len_utf8(), message, ESCAPES));
        };
        let Some(c) = char::from_u32(code) else {
            let hint = "write the character itself or \\U with its eight digits; halves of surrogate pairs are none";
            return Err(self.error(start..start + end, "the escape is not a Unicode character", hint));
        };
        self.at += end;
        Ok(c)
    }
}
