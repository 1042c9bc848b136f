//! Steps over JSON values without building them.

use super::extract::{Span, decode};
use super::number::Number;
use super::symbols::Element;

/// A place in the bytes of valid JSON. Every step answers none at the end of the bytes or where they are not JSON.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Largest power of ten that is a double, and that makes one rounding of a whole division (Clinger's fast path).
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Digits that always fit in 63 bits.
const DIGITS_FAST_MAX: usize = 18;

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Nonzero where a byte of the word equals; the lowest such bit is exact, which is all that is used.
#[inline]
const fn equal(word: u64, byte: u8) -> u64 {
    let diff = word ^ (LOW * byte as u64);
    diff.wrapping_sub(LOW) & !diff & HIGH
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    #[expect(clippy::cast_possible_truncation, reason = "events are at most a MiB")]
    pub(super) fn at(&self) -> u32 {
        self.at as u32
    }

    /// The next byte that is not white space, left in place.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    pub(super) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    /// The raw inside of a string, and whether it has escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Option<(Span, bool)> {
        self.expect(b'"')?;
        let start = self.at();
        let mut escaped = false;
        loop {
            self.at += self.quote_or_backslash()?;
            match *self.bytes.get(self.at)? {
                b'"' => break,
                _ => {
                    escaped = true;
                    self.at += 2;
                }
            }
        }
        let end = self.at();
        self.at += 1;
        Some((Span { start, end }, escaped))
    }

    /// How far the next quote or backslash is. Eight bytes at a time: strings of events are short.
    #[inline]
    fn quote_or_backslash(&self) -> Option<usize> {
        let rest = self.bytes.get(self.at..)?;
        let (words, tail) = rest.as_chunks::<8>();
        for (n, word) in words.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            let found = equal(word, b'"') | equal(word, b'\\');
            if found != 0 {
                return Some(n * 8 + found.trailing_zeros() as usize / 8);
            }
        }
        let found = tail.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        Some(words.len() * 8 + found)
    }

    /// Steps over one value.
    #[inline]
    pub(super) fn skip(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => {
                self.at += 1;
                self.skip_rest(1)
            }
            _ => {
                self.skip_scalar();
                Some(())
            }
        }
    }

    fn skip_scalar(&mut self) {
        while let Some(byte) = self.bytes.get(self.at)
            && !matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r')
        {
            self.at += 1;
        }
    }

    /// Steps out of `depth` open objects or lists.
    pub(super) fn skip_rest(&mut self, mut depth: usize) -> Option<()> {
        while depth > 0 {
            match *self.bytes.get(self.at)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Some(())
    }

    /// Calls back with each element of a list that is not itself a list or object, or with each key of an object.
    pub(super) fn elements(&mut self, mut each: impl FnMut(Element<'_>)) -> Option<()> {
        let map = self.next()? == b'{';
        if matches!(self.peek()?, b']' | b'}') {
            return Some(());
        }
        loop {
            match self.peek()? {
                b'"' => {
                    let (span, escaped) = self.string()?;
                    let raw = span.of(self.bytes);
                    if escaped { each(Element::Text(decode(raw)?.as_bytes())) } else { each(Element::Text(raw)) }
                }
                b'{' | b'[' => self.skip()?,
                first @ (b't' | b'f' | b'n') => {
                    self.skip()?;
                    each(if first == b'n' { Element::Null } else { Element::Bool(first == b't') });
                }
                _ => each(Element::Number(self.number()?)),
            }
            if map {
                self.expect(b':')?;
                self.skip()?;
            }
            if self.next()? != b',' {
                return Some(());
            }
        }
    }

    /// Reads a number exactly: an integer of 64 bits as it is, anything else as the nearest double.
    pub(super) fn number(&mut self) -> Option<Number> {
        let start = self.at;
        let negative = self.bytes.get(self.at) == Some(&b'-');
        self.at += usize::from(negative);
        let mut whole: u64 = 0;
        let first_digit = self.at;
        self.digits(&mut whole);
        let mut digits = self.at - first_digit;
        let mut decimals = 0;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            let first_decimal = self.at;
            self.digits(&mut whole);
            decimals = self.at - first_decimal;
            digits += decimals;
        }
        let exponent = matches!(self.bytes.get(self.at), Some(b'e' | b'E'));
        let has_point = decimals > 0;
        if digits == 0 {
            return None;
        }
        if !exponent && digits <= DIGITS_FAST_MAX {
            if let (true, Some(power)) = (whole < 1 << 53, POWERS.get(decimals)) {
                // An integer as small is the same number as a double.
                #[expect(clippy::cast_precision_loss, reason = "below 2^53 there is none")]
                let value = whole as f64 / power;
                return Some(Number::double(if negative { -value } else { value }));
            }
            if !has_point {
                return Some(Number::integer(if negative { -i128::from(whole) } else { i128::from(whole) }));
            }
        }
        self.skip_scalar();
        let text = std::str::from_utf8(self.bytes.get(start..self.at)?).ok()?;
        if !exponent && !has_point {
            if let Ok(value) = text.parse::<i64>() {
                return Some(Number::integer(value.into()));
            }
            if let Ok(value) = text.parse::<u64>() {
                return Some(Number::integer(value.into()));
            }
        }
        text.parse().ok().map(Number::double)
    }

    #[inline]
    fn digits(&mut self, whole: &mut u64) {
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            *whole = whole.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly() {
        let integers = ["0", "-0", "7", "-12", "9007199254740993", "-9007199254740993", "18446744073709551615"];
        for text in integers {
            assert_eq!(Scanner::new(text.as_bytes()).number(), Some(Number::integer(text.parse().unwrap())), "{text}");
        }
        let doubles = [
            "-0.0",
            "0.1",
            "49.99",
            "1e2",
            "1E-3",
            "2.5e+3",
            "123456789012345.678",
            "9007199254740993.0",
            "5e-324",
            "18446744073709551616",
            "-9223372036854775809",
            "0.30000000000000004",
            "1.7976931348623157e308",
        ];
        for text in doubles {
            assert_eq!(Scanner::new(text.as_bytes()).number(), Some(Number::double(text.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn values_are_stepped_over_whole() {
        for value in [r#""a\"b\\""#, r#"{"a":[{"]":"}"}],"b":"\\"}"#, "[[],[1,{}]]", "true", "-1.5e3", r#""""#] {
            let text = format!(" {value} ,");
            let mut scanner = Scanner::new(text.as_bytes());
            assert_eq!(scanner.skip(), Some(()), "{value}");
            assert_eq!(scanner.at() as usize, value.len() + 1, "{value}");
        }
        assert_eq!(Scanner::new(br#""open\"#).skip(), None);
        assert_eq!(Scanner::new(b"{[}").skip(), None);
    }
}
