//! Numbers in an order that is exact across integers and doubles, and the two column encodings of a threshold.

/// A number as JSON and filters know it: an integer of 64 bits with or without sign, or a double.
///
/// The order is that of the numbers themselves: first the largest double not above the number, then how far above it
/// the number is. Only integers past 2^53 have a `rest`; it is below 2048, the widest step of doubles under 2^64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Number {
    pub(super) floor: u64,
    pub(super) rest: u16,
}

const SIGN: u64 = 1 << 63;

/// Past this, not every integer is a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

impl Number {
    pub(super) fn double(value: f64) -> Self {
        // Adding zero turns -0 into 0; they are equal as numbers.
        Self { floor: order_bits(value + 0.0), rest: 0 }
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the loss is what is computed")]
    pub(super) fn integer(value: i128) -> Self {
        let nearest = value as f64;
        if value.unsigned_abs() <= 1 << 53 {
            return Self::double(nearest);
        }
        let floor = if nearest as i128 > value { nearest.next_down() } else { nearest };
        Self { floor: order_bits(floor), rest: (value - floor as i128) as u16 }
    }

    /// The largest double not above.
    pub(super) fn as_floor(self) -> f64 {
        f64::from_bits(if self.floor & SIGN == 0 { !self.floor } else { self.floor & !SIGN })
    }

    /// Whether the step to the next double is the step to the next number.
    fn is_exact(self) -> bool {
        self.as_floor().abs() < EXACT_MAX
    }
}

/// Bits that compare as the doubles do; NaN is neither written in filters nor in JSON.
fn order_bits(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// One end of a numeric interval.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) struct Bound {
    pub(super) at: Number,
    pub(super) inclusive: bool,
}

impl Bound {
    pub(super) fn admits_from_below(self, value: Number) -> bool {
        if self.inclusive { self.at <= value } else { self.at < value }
    }

    pub(super) fn admits_from_above(self, value: Number) -> bool {
        if self.inclusive { value <= self.at } else { value < self.at }
    }

    /// A key `k` such that a number satisfies the lower bound exactly if its floor is at least `k`; none if the floor
    /// does not decide it, which happens only past 2^53.
    pub(super) fn lower_key(self) -> Option<u64> {
        if self.at.rest != 0 {
            return None;
        }
        if self.inclusive {
            return Some(self.at.floor);
        }
        self.at.is_exact().then(|| order_bits(self.at.as_floor().next_up() + 0.0))
    }

    /// A key `k` such that a number satisfies the upper bound exactly if its floor is at most `k`.
    pub(super) fn upper_key(self) -> Option<u64> {
        if self.at.rest != 0 {
            return None;
        }
        if !self.inclusive {
            // -0 would be above 0 as bits, so the step below 0 is the smallest negative double.
            return Some(order_bits(self.at.as_floor().next_down()));
        }
        self.at.is_exact().then_some(self.at.floor)
    }
}

/// Thresholds of money and percentages have two decimals at most; those fit a column of half the width.
const SCALE: f64 = 100.0;

/// The whole number of hundredths that this double is the nearest to, moved so that it orders as unsigned.
#[expect(clippy::cast_possible_truncation, reason = "checked by the way back")]
pub(super) fn hundredths(floor: u64) -> Option<u32> {
    let value = Number { floor, rest: 0 }.as_floor();
    let scaled = (value * SCALE).round();
    if !(scaled.abs() <= f64::from(i32::MAX) && Number::double(scaled / SCALE).floor == floor) {
        return None;
    }
    Some((scaled as i32).cast_unsigned() ^ (1 << 31))
}

/// The highest column value whose threshold is at most this number's floor; none if all are above it.
#[expect(clippy::cast_possible_truncation, reason = "clamped before")]
pub(super) fn hundredths_at_most(floor: u64) -> Option<u32> {
    let value = Number { floor, rest: 0 }.as_floor();
    // Division rounds to nearest and is monotone, so a step from the estimate finds the edge exactly.
    let mut scaled = (value * SCALE).floor().clamp(f64::from(i32::MIN), f64::from(i32::MAX) - 1.0) + 1.0;
    while scaled / SCALE > value {
        scaled -= 1.0;
        if scaled < f64::from(i32::MIN) {
            return None;
        }
    }
    Some((scaled as i32).cast_unsigned() ^ (1 << 31))
}

/// The lowest column value whose threshold is at least this number's floor; none if all are below it.
pub(super) fn hundredths_at_least(floor: u64) -> Option<u32> {
    match hundredths_at_most(floor) {
        None => Some(0),
        Some(below) if hundredths(floor) == Some(below) => Some(below),
        Some(below) => below.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers() -> Vec<(i128, Number)> {
        let powers = (0..64).map(|bit| 1_i128 << bit);
        let near = powers.flat_map(|power| (-3..=3).map(move |step| power + step));
        let both = near.flat_map(|value| [value, -value]);
        both.filter(|value| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(value))
            .map(|value| (value, Number::integer(value)))
            .collect()
    }

    #[test]
    fn the_order_is_exact_past_2_to_the_53() {
        for (left, left_number) in numbers() {
            for (right, right_number) in numbers() {
                assert_eq!(left.cmp(&right), left_number.cmp(&right_number), "{left} {right}");
            }
        }
        assert_eq!(Number::double(-0.0), Number::integer(0));
        assert!(Number::double(f64::NEG_INFINITY) < Number::integer(i128::from(i64::MIN)));
        assert!(Number::double(18_446_744_073_709_551_616.0) > Number::integer(i128::from(u64::MAX)));
    }

    #[test]
    fn keys_decide_bounds_or_are_not_given() {
        let mut all: Vec<Number> = numbers().into_iter().map(|(_, number)| number).collect();
        all.extend([0.5, -0.5, 1e-308, -5e-324, 5e-324, 1e300, -1e300, f64::INFINITY].map(Number::double));
        for at in &all {
            for inclusive in [false, true] {
                let bound = Bound { at: *at, inclusive };
                for value in &all {
                    if let Some(key) = bound.lower_key() {
                        assert_eq!(value.floor >= key, bound.admits_from_below(*value), "{bound:?} {value:?}");
                    }
                    if let Some(key) = bound.upper_key() {
                        assert_eq!(value.floor <= key, bound.admits_from_above(*value), "{bound:?} {value:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn hundredths_decide_as_doubles_do() {
        let thresholds = (-50_000..50_000).step_by(37).map(|cents| f64::from(cents) / 100.0);
        let thresholds: Vec<f64> = thresholds.chain([21_474_836.47, -21_474_836.47]).collect();
        let near = |value: f64| [value.next_down(), value, value.next_up(), value + 0.001, value - 0.001];
        for at in &thresholds {
            let column = hundredths(Number::double(*at).floor).unwrap();
            for value in thresholds.iter().step_by(41).copied().chain([*at, 1e30, -1e30]).flat_map(near) {
                let floor = Number::double(value).floor;
                assert_eq!(hundredths_at_most(floor).is_some_and(|most| column <= most), *at <= value, "{at} {value}");
                assert_eq!(
                    hundredths_at_least(floor).is_some_and(|least| column >= least),
                    *at >= value,
                    "{at} {value}"
                );
            }
        }
        assert_eq!(hundredths(Number::double(0.001).floor), None);
        assert_eq!(hundredths(Number::double(1e12).floor), None);
    }
}
