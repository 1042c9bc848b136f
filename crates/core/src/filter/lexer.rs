//! The tokens of a `where` expression.
//!
//! The first thing that is not a token ends the list as [`Kind::Invalid`], so that the parser reports whichever fault
//! comes first in the text.

mod strings;

use std::ops::Range;
use std::sync::Arc;

use super::parse_error::ParseError;

#[derive(Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind<'t>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'t> {
    /// A name, a keyword or a reserved word.
    Word(&'t str),
    Number(Magnitude),
    String(Arc<str>),
    /// An operator or a bracket.
    Symbol(&'static str),
    Invalid(Box<ParseError>),
    End,
}

/// A number without its sign, which is an operator to the grammar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Magnitude {
    /// Written without a suffix: with a minus it reaches one further than without.
    Plain(u64),
    Uint(u64),
    Double(f64),
}

/// Longer ones first, because the first that fits is taken. The last two lines are no operators of the language, but
/// knowing them as one token lets the parser say what to write instead.
const SYMBOLS: [&str; 29] = [
    "===", "!==", "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", "{", "}", ",", ".", "-", "+",
    "*", "/", "%", "?", //
    ":", "=", "&", "|",
];

/// Values that are no names anywhere.
const KEYWORDS: [&str; 4] = ["true", "false", "null", "in"];

/// Words that CEL keeps for languages that embed it; they name no top-level field.
const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Whether a key can follow a dot; if not, it is written in brackets.
pub(super) fn is_selector(key: &str) -> bool {
    let mut bytes = key.bytes();
    bytes.next().is_some_and(starts_word) && bytes.all(continues_word) && !KEYWORDS.contains(&key)
}

fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn continues_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { text, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        let kind = lexer.token().unwrap_or_else(|error| Kind::Invalid(Box::new(error)));
        let last = matches!(kind, Kind::End | Kind::Invalid(_));
        tokens.push(Token { kind, span: start..lexer.at });
        if last {
            return tokens;
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn error(&self, span: Range<usize>, message: impl Into<String>, hint: &str) -> ParseError {
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        ParseError::new(self.text, span, message, hint)
    }

    /// White space and `//` comments.
    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("//") {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn token(&mut self) -> Result<Kind<'t>, ParseError> {
        let Some(first) = self.byte(0) else { return Ok(Kind::End) };
        if matches!(first, b'"' | b'\'') {
            return self.string(0);
        }
        if starts_word(first) {
            let length = self.run(0, continues_word);
            let word = &self.rest()[..length];
            let quoted = matches!(self.byte(length), Some(b'"' | b'\''));
            if quoted && matches!(word, "r" | "R") {
                return self.string(length);
            }
            if quoted && matches!(word, "b" | "B" | "br" | "bR" | "Br" | "BR" | "rb" | "rB" | "Rb" | "RB") {
                let span = self.at..self.at + length;
                let hint = "JSON has no bytes; write the text without the `b`";
                return Err(self.error(span, "byte strings are not part of the language", hint));
            }
            self.at += length;
            return Ok(Kind::Word(word));
        }
        let fraction_first = first == b'.' && self.byte(1).is_some_and(|b| b.is_ascii_digit());
        if first.is_ascii_digit() || fraction_first {
            return self.number();
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            self.at += symbol.len();
            return Ok(Kind::Symbol(symbol));
        }
        let unexpected = self.rest().chars().next().unwrap_or_default();
        let span = self.at..self.at + unexpected.len_utf8();
        let hint = match unexpected {
            '“' | '”' | '„' | '‘' | '’' | '«' | '»' => "use plain quotes: \" or '",
            '`' => "put text in \" or ', and keys that are no names in brackets: headers[\"x-id\"]",
            ';' => "an expression has no end mark; leave it out",
            '#' => "a comment starts with //",
            '≠' => "write !=",
            '≤' => "write <=",
            '≥' => "write >=",
            '$' | '@' => "name a field as it is in the event, without a sign",
            c if c.is_alphabetic() => "put text in quotes; a top-level field name has ASCII letters, digits and _ only",
            _ => "",
        };
        Err(self.error(span, format!("unexpected character {unexpected:?}"), hint))
    }

    /// The number of bytes from `from` on that belong together.
    fn run(&self, from: usize, belongs: fn(u8) -> bool) -> usize {
        from + self.rest().bytes().skip(from).take_while(|&byte| belongs(byte)).count()
    }

    fn number(&mut self) -> Result<Kind<'t>, ParseError> {
        let digit: fn(u8) -> bool = |byte| byte.is_ascii_digit();
        let hex = self.byte(0) == Some(b'0') && matches!(self.byte(1), Some(b'x' | b'X'));
        let mut length = if hex { self.run(2, |byte| byte.is_ascii_hexdigit()) } else { self.run(0, digit) };
        let mut double = false;
        if !hex {
            if self.byte(length) == Some(b'.') && self.byte(length + 1).is_some_and(digit) {
                length = self.run(length + 1, digit);
                double = true;
            }
            let sign = usize::from(matches!(self.byte(length + 1), Some(b'+' | b'-')));
            let exponent = matches!(self.byte(length), Some(b'e' | b'E'));
            if exponent && self.byte(length + 1 + sign).is_some_and(digit) {
                length = self.run(length + 1 + sign, digit);
                double = true;
            }
        }
        let digits = &self.rest()[..length];
        let unsigned = !double && matches!(self.byte(length), Some(b'u' | b'U'));
        let end = length + usize::from(unsigned);
        if self.byte(end).is_some_and(continues_word) {
            let span = self.at..self.at + self.run(end, continues_word);
            let word = &self.text[span.clone()];
            let hint = if word.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
                format!("write {} without separators", word.replace('_', ""))
            } else {
                format!("if it is text, put it in quotes: \"{word}\"")
            };
            return Err(self.error(span, "a number runs into a word", &hint));
        }
        let span = self.at..self.at + end;
        self.at += end;
        if double {
            return match digits.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Kind::Number(Magnitude::Double(value))),
                _ => Err(self.error(span, "the number is too large for a double", "the largest is about 1.8e308")),
            };
        }
        let value = if hex { u64::from_str_radix(&digits[2..], 16) } else { digits.parse() };
        match value {
            Ok(value) if unsigned => Ok(Kind::Number(Magnitude::Uint(value))),
            Ok(value) => Ok(Kind::Number(Magnitude::Plain(value))),
            Err(_) if digits.len() <= 2 => Err(self.error(span, "hex digits are missing after 0x", "")),
            Err(_) => Err(self.error(
                span,
                "the integer is past 18446744073709551615, the largest of 64 bits",
                "write it as a double, with a point: it then compares by value, rounded to 53 bits",
            )),
        }
    }
}
