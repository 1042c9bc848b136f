//! The dice: a generator of numbers that is the same everywhere, and the distributions drawn from it.

/// SplitMix64 (Steele, Lea and Flood 2014): small, fast, and good enough for test data; not for secrets.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// At least 0 and below `end`; 0 if `end` is 0. Multiplication instead of a remainder: no bias that matters here.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(end)) >> 64) as u64
    }

    /// A log-normal number with this median, by Box and Muller.
    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }
}

/// Ranks 1 to n, rank k with weight k^-s, drawn by rejection-inversion (Hörmann and Derflinger 1996): no table, so a
/// hundred million users cost nothing.
#[derive(Clone, Debug)]
pub struct Zipf {
    n: f64,
    s: f64,
    low: f64,
    high: f64,
    shortcut: f64,
}

impl Zipf {
    /// `n` is at least 1 and `s` at least 0; smaller values are raised to that.
    #[must_use]
    pub fn new(n: u64, s: f64) -> Self {
        let n = n.max(1) as f64;
        let s = if s.is_finite() { s.max(0.0) } else { 1.0 };
        let mut zipf = Self { n, s, low: 0.0, high: 0.0, shortcut: 0.0 };
        zipf.low = zipf.area(1.5) - 1.0;
        zipf.high = zipf.area(n + 0.5);
        zipf.shortcut = 2.0 - zipf.area_inverse(zipf.area(2.5) - zipf.weight(2.0));
        zipf
    }

    pub fn draw(&self, dice: &mut Dice) -> u64 {
        loop {
            let u = self.high + dice.unit() * (self.low - self.high);
            let x = self.area_inverse(u);
            let k = x.round().clamp(1.0, self.n);
            if k - x <= self.shortcut || u >= self.area(k + 0.5) - self.weight(k) {
                return k as u64;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.s * x.ln()).exp()
    }

    /// The integral of the weight, up to a constant that does not depend on `x`.
    fn area(&self, x: f64) -> f64 {
        let t = (1.0 - self.s) * x.ln();
        x.ln() * if t.abs() > 1e-8 { t.exp_m1() / t } else { 1.0 + t / 2.0 }
    }

    fn area_inverse(&self, y: f64) -> f64 {
        let t = (y * (1.0 - self.s)).max(-1.0);
        (y * if t.abs() > 1e-8 { t.ln_1p() / t } else { 1.0 - t / 2.0 }).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_have_their_weights() {
        for s in [0.0, 0.5, 1.0, 1.2] {
            let (n, draws) = (10_u64, 200_000);
            let zipf = Zipf::new(n, s);
            let mut dice = Dice::new(5);
            let mut counts = [0_u32; 10];
            for _ in 0..draws {
                let rank = zipf.draw(&mut dice);
                assert!((1..=n).contains(&rank));
                counts[rank as usize - 1] += 1;
            }
            let sum: f64 = (1..=n).map(|k| (k as f64).powf(-s)).sum();
            for (at, count) in counts.iter().enumerate() {
                let want = (at as f64 + 1.0).powf(-s) / sum;
                let got = f64::from(*count) / f64::from(draws);
                assert!((got - want).abs() < 0.005, "s={s} rank={}: {got} instead of {want}", at + 1);
            }
        }
    }

    #[test]
    fn one_user_is_enough() {
        assert_eq!(Zipf::new(0, f64::NAN).draw(&mut Dice::new(1)), 1);
        assert_eq!(Dice::new(1).below(0), 0);
    }

    #[test]
    fn half_of_a_log_normal_lies_below_its_median() {
        let mut dice = Dice::new(9);
        let below = (0..10_000).filter(|_| dice.log_normal(50.0, 1.0) < 50.0).count();
        assert!((4_800..5_200).contains(&below), "{below}");
    }
}
