//! Seeded filters and events of four kinds, alike for every engine.

use bytes::Bytes;
use evs_core::filter::ast::Literal;
use evs_core::{Event, Filter};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) const TYPES: usize = 20;
pub(crate) const TIERS: [&str; 4] = ["free", "basic", "premium", "enterprise"];

/// Filters of one user, so that an event finds about ten of them however many there are in all.
const FILTERS_PER_USER: usize = 72;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Workload {
    /// `event_types`, `user_tiers` and `min_amount`: 0.8 % of all filters match.
    Broad,
    /// The same for one user each: about ten filters match.
    Entity,
    /// Broad, with amounts so high that about ten filters match.
    Threshold,
    /// Conjunctions, disjunctions, negations, lists, ranges, prefixes and presence over twelve fields.
    Mixed,
}

impl Workload {
    pub(crate) const ALL: [Self; 4] = [Self::Broad, Self::Entity, Self::Threshold, Self::Mixed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Broad => "broad",
            Self::Entity => "entity",
            Self::Threshold => "threshold",
            Self::Mixed => "mixed",
        }
    }
}

/// A typed filter as plain numbers, for the scan and for engines with a language of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Typed {
    pub(crate) types: Vec<usize>,
    pub(crate) tiers: Vec<usize>,
    pub(crate) user: Option<usize>,
    pub(crate) cents: u32,
}

/// A filter, and what it was made from if it is a typed one.
pub(crate) struct Sample {
    pub(crate) filter: Filter,
    pub(crate) typed: Option<Typed>,
}

/// An event as bytes and as plain numbers.
pub(crate) struct SampleEvent {
    pub(crate) event: Event,
    pub(crate) event_type: usize,
    pub(crate) tier: usize,
    pub(crate) user: usize,
    pub(crate) cents: u32,
}

pub(crate) struct Generator {
    workload: Workload,
    filters: usize,
    rng: SmallRng,
}

pub(crate) fn type_name(n: usize) -> String {
    const NAMES: [&str; 4] = ["purchase", "page_view", "cart.updated", "login"];
    format!("{}_{n}", NAMES[n % NAMES.len()])
}

pub(crate) fn user_name(n: usize) -> String {
    format!("user_{n}")
}

impl Generator {
    pub(crate) fn new(workload: Workload, filters: usize, seed: u64) -> Self {
        Self { workload, filters, rng: SmallRng::seed_from_u64(seed) }
    }

    fn users(&self) -> usize {
        (self.filters / FILTERS_PER_USER).max(1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }

    fn chance(&mut self, share: f64) -> bool {
        self.rng.random_bool(share)
    }

    fn some_of(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..count).map(|_| self.below(bound)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Log-uniform from 1 to 10,000, in cents.
    fn min_cents(&mut self) -> u32 {
        (100.0 * 10_f64.powf(self.rng.random_range(0.0..4.0))) as u32
    }

    /// Log-normal around 20 with sigma 1.5, in cents.
    fn event_cents(&mut self) -> u32 {
        let normal: f64 = (0..12).map(|_| self.rng.random::<f64>()).sum::<f64>() - 6.0;
        (2000.0 * (1.5 * normal).exp()) as u32
    }

    pub(crate) fn filter(&mut self) -> Sample {
        if self.workload == Workload::Mixed {
            return Sample { filter: self.mixed(), typed: None };
        }
        let typed = self.typed();
        let where_text = typed.user.map(|user| format!("user_id == \"{}\"", user_name(user)));
        let filter = Filter::new(
            typed.types.iter().map(|n| type_name(*n).into()).collect(),
            typed.tiers.iter().map(|n| TIERS[*n].into()).collect(),
            Some(Literal::Double(f64::from(typed.cents) / 100.0)),
            where_text.as_deref(),
        );
        Sample { filter: filter.expect("the generator makes valid filters"), typed: Some(typed) }
    }

    fn typed(&mut self) -> Typed {
        let dice = self.rng.random_range(0..100);
        let entity = self.workload == Workload::Entity;
        let types = match (entity, dice) {
            (true, 0..40) => 0,
            (true, _) => 1 + dice as usize % 5,
            (false, 0..80) => 1,
            (false, 80..95) => 2,
            _ => 3,
        };
        let dice = self.rng.random_range(0..100);
        let tiers = match (entity, dice) {
            (true, 0..80) => 0,
            (true, _) => 1,
            (false, 0..70) => 1,
            (false, 70..90) => 2,
            _ => 0,
        };
        let cents = match self.workload {
            // The higher the number of filters, the further out in the tail, so that about ten match on average.
            Workload::Threshold => {
                let share = (10.0 / (0.0234 * self.filters as f64)).min(0.3);
                let sigmas = (2.0 * (1.0 / share).ln()).sqrt();
                (2000.0 * (1.5 * (sigmas + self.rng.random_range(-0.3..0.3))).exp()) as u32
            }
            _ => self.min_cents(),
        };
        Typed {
            types: self.some_of(types, TYPES),
            tiers: self.some_of(tiers, TIERS.len()),
            user: entity.then(|| self.rng.random_range(0..self.users())),
            cents,
        }
    }

    fn quoted(&mut self, count: usize, prefix: &str, bound: usize) -> String {
        let all: Vec<String> = self.some_of(count, bound).iter().map(|n| format!("\"{prefix}{n}\"")).collect();
        format!("[{}]", all.join(", "))
    }

    fn path(&mut self) -> String {
        format!("/{}/{}/", ["shop", "docs", "blog", "help"][self.below(4)], self.below(25))
    }

    fn mixed(&mut self) -> Filter {
        let low = f64::from(self.min_cents()) / 100.0;
        let high = low * self.rng.random_range(1.5..20.0);
        let (low, high) = (format!("{low:.2}"), format!("{high:.2}"));
        let lists = |this: &mut Self, most: usize| 1 + this.below(most);
        let text = match self.rng.random_range(0..100) {
            0..40 => {
                let user = self.below(self.users());
                let count = lists(self, 3);
                let types: Vec<String> =
                    self.some_of(count, TYPES).iter().map(|n| format!("\"{}\"", type_name(*n))).collect();
                format!("user_id == \"user_{user}\" && event_type in [{}] && amount >= {low}", types.join(", "))
            }
            40..65 => {
                let (merchants, countries) = (lists(self, 3), lists(self, 3));
                let merchants = self.quoted(merchants, "m", 2000);
                let countries = self.quoted(countries, "c", 50);
                format!("merchant in {merchants} && country in {countries} && amount >= {low} && amount < {high}")
            }
            65..80 => {
                let (category, path, tier) = (self.below(300), self.path(), TIERS[self.below(4)]);
                format!("category == \"k{category}\" && path.startsWith(\"{path}\") && user_tier != \"{tier}\"")
            }
            80..90 => {
                let (event_type, country) = (type_name(self.below(TYPES)), self.below(50));
                let (device, merchant) = (self.below(12), self.below(2000));
                format!(
                    "(event_type == \"{event_type}\" && country == \"c{country}\" && device.os == \"d{device}\") || \
                     (merchant == \"m{merchant}\" && amount >= {low} && amount < {high})"
                )
            }
            _ => {
                let countries = self.quoted(4, "c", 50);
                let hour = self.below(16);
                let devices = lists(self, 2);
                let devices = self.quoted(devices, "d", 12);
                let category = self.below(300);
                format!(
                    "has(referrer) && !(country in {countries} || (hour >= {hour} && hour < {})) && \
                     category == \"k{category}\" && device.os in {devices}",
                    hour + 8
                )
            }
        };
        Filter::new(vec![], vec![], None, Some(&text)).expect("the generator makes valid filters")
    }

    pub(crate) fn event(&mut self, n: usize) -> SampleEvent {
        // Zipf over the types: the inverse of the harmonic sum, by search.
        let harmonic: f64 = (1..=TYPES).map(|rank| 1.0 / rank as f64).sum();
        let mut left = self.rng.random::<f64>() * harmonic;
        let event_type = (0..TYPES)
            .find(|rank| {
                left -= 1.0 / (rank + 1) as f64;
                left <= 0.0
            })
            .unwrap_or(TYPES - 1);
        let tier = match self.rng.random_range(0..100) {
            0..55 => 0,
            55..80 => 1,
            80..95 => 2,
            _ => 3,
        };
        let (user, cents) = (self.below(self.users()), self.event_cents());
        let mut text = format!(
            "{{\"event_id\":\"evt-{n:012}\",\"user_id\":\"{}\",\"event_type\":\"{}\",\"user_tier\":\"{}\",\
             \"amount\":{}.{:02},\"timestamp\":\"2026-01-01T12:00:{:02}Z\"",
            user_name(user),
            type_name(event_type),
            TIERS[tier],
            cents / 100,
            cents % 100,
            n % 60,
        );
        if self.workload == Workload::Mixed {
            let (merchant, country, category, path) = (self.below(2000), self.below(50), self.below(300), self.path());
            let (hour, device, item) = (self.below(24), self.below(12), self.below(1000));
            text += &format!(
                ",\"merchant\":\"m{merchant}\",\"country\":\"c{country}\",\"category\":\"k{category}\",\
                 \"path\":\"{path}item-{item}\",\"hour\":{hour},\"device\":{{\"os\":\"d{device}\",\"model\":\"x\"}}"
            );
            if self.chance(0.5) {
                text += ",\"referrer\":\"https://example.com/\"";
            }
        }
        text.push('}');
        let event = Event::parse(Bytes::from(text)).expect("the generator makes valid events");
        SampleEvent { event, event_type, tier, user, cents }
    }
}
