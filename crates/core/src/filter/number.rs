//! Numbers as CEL orders them: int, uint and double on one line, compared exactly.

use std::cmp::Ordering;

use super::ast::Literal;

/// A number of an event or a filter. Never NaN: neither JSON nor the syntax can write it.
///
/// Equality and order are by value, whatever the type: `1`, `1u` and `1.0` are equal. An integer and a double are
/// compared exactly, where the CEL libraries first round the integer to a double: to them 2^53 + 1 equals
/// 9007199254740992.0, to us it is greater.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    Int(i64),
    Uint(u64),
    Double(f64),
}

impl Number {
    /// The number of a literal, if it is one.
    #[must_use]
    pub fn from_literal(literal: &Literal) -> Option<Self> {
        match *literal {
            Literal::Int(n) => Some(Self::Int(n)),
            Literal::Uint(n) => Some(Self::Uint(n)),
            Literal::Double(n) => Some(Self::Double(n)),
            Literal::Null | Literal::Bool(_) | Literal::String(_) => None,
        }
    }

    /// The number of a JSON value: integers up to u64 are kept whole, anything else is the nearest double.
    #[must_use]
    pub fn from_json(number: &serde_json::Number) -> Self {
        if let Some(n) = number.as_i64() {
            Self::Int(n)
        } else if let Some(n) = number.as_u64() {
            Self::Uint(n)
        } else {
            Self::Double(number.as_f64().unwrap_or_default())
        }
    }

    fn integer(self) -> Result<i128, f64> {
        match self {
            Self::Int(n) => Ok(n.into()),
            Self::Uint(n) => Ok(n.into()),
            Self::Double(n) => Err(n),
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.integer(), other.integer()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Err(a), Err(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            (Ok(a), Err(b)) => compare(a, b),
            (Err(a), Ok(b)) => compare(b, a).reverse(),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Number {}

/// An integer of at most 64 bits against a double.
fn compare(integer: i128, double: f64) -> Ordering {
    // The cast rounds toward zero and saturates, and past 2^53 a double has no fraction, so the whole part is exact
    // and what was cut off decides only a tie.
    let whole = double as i128;
    integer.cmp(&whole).then_with(|| 0.0.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Number::{Double, Int, Uint};

    #[test]
    fn kinds_meet_on_one_line() {
        let ascending = [
            Double(-1e300),
            Double(-9223372036854777856.0),
            Int(i64::MIN),
            Double(-1.5),
            Int(-1),
            Double(-0.5),
            Int(0),
            Double(0.5),
            Uint(1),
            Double(9007199254740992.0),
            Int(9007199254740993),
            Int(i64::MAX),
            Double(9223372036854775808.0),
            Uint(9223372036854775809),
            Uint(u64::MAX),
            Double(18446744073709551616.0),
            Double(f64::INFINITY),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(a.cmp(b), i.cmp(&j), "{a:?} against {b:?}");
            }
        }
        assert_eq!(Int(1), Double(1.0));
        assert_eq!(Int(1), Uint(1));
        assert_eq!(Int(0), Double(-0.0));
        assert_eq!(Int(i64::MIN), Double(-9223372036854775808.0));
    }

    proptest! {
        /// Where a double holds the integer exactly, comparing as doubles is an obvious oracle.
        #[test]
        fn small_integers_compare_as_doubles(integer in -(1i64 << 53)..=1 << 53, double in any::<f64>()) {
            prop_assume!(!double.is_nan());
            prop_assert_eq!(Some(Int(integer).cmp(&Double(double))), (integer as f64).partial_cmp(&double));
        }

        #[test]
        fn whole_doubles_compare_as_integers(integer in any::<i64>(), near in any::<i64>(), shift in 0u32..64) {
            let double = (near >> shift) as f64;
            prop_assert_eq!(Int(integer).cmp(&Double(double)), i128::from(integer).cmp(&(double as i128)));
        }
    }
}
