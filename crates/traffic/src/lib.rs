//! Realistic user events from a seed, for `evs produce`, the demos, load tests and benchmarks.
//!
//! The same seed, configuration and times give the same events: the caller tells the time, and the dice are
//! [`dice::Dice`], so that who does what and how often is the same in every version. Names, cities and merchants come
//! from the crate `fake`, whose lists may change between versions.
//!
//! ```
//! use evs_traffic::{Traffic, TrafficConfig};
//!
//! let mut traffic = Traffic::new(42, TrafficConfig::default());
//! let event = traffic.next_event(1_766_000_000_000);
//! assert!(event.starts_with(br#"{"event_id":""#));
//! ```

#![forbid(unsafe_code)]

pub mod dice;
mod event;
mod people;

use dice::{Dice, Zipf};

/// The event types of generated events, the most frequent first.
pub const EVENT_TYPES: [&str; 20] = [
    "page_view",
    "click",
    "login",
    "purchase",
    "search",
    "add_to_cart",
    "logout",
    "like",
    "share",
    "signup",
    "comment",
    "review",
    "remove_from_cart",
    "refund",
    "subscribe",
    "upgrade",
    "password_reset",
    "support_ticket",
    "unsubscribe",
    "downgrade",
];

/// The tiers of generated users, and how many of 100 users have each.
pub const USER_TIERS: [(&str, u8); 4] = [("free", 55), ("basic", 25), ("premium", 15), ("enterprise", 5)];

/// What the events look like.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficConfig {
    /// Users are `user_1` to `user_<users>`; the lower the number, the more active.
    pub users: u64,
    /// Zipf exponent of the users' activity: 0 makes all equally active.
    pub user_skew: f64,
    /// Event types, the most frequent first; empty means [`EVENT_TYPES`].
    pub types: Vec<String>,
    /// Zipf exponent of the types' frequency.
    pub type_skew: f64,
    /// Events are padded with a `padding` field up to this size; 0 leaves them as they are, about 450 bytes.
    pub size_bytes: usize,
}

impl Default for TrafficConfig {
    fn default() -> Self {
        Self { users: 1_000, user_skew: 0.8, types: Vec::new(), type_skew: 1.0, size_bytes: 0 }
    }
}

/// An endless sequence of events.
#[derive(Clone, Debug)]
pub struct Traffic {
    dice: Dice,
    users: Zipf,
    types: Vec<String>,
    type_ranks: Zipf,
    size_bytes: usize,
}

impl Traffic {
    #[must_use]
    pub fn new(seed: u64, config: TrafficConfig) -> Self {
        let types =
            if config.types.is_empty() { EVENT_TYPES.iter().map(ToString::to_string).collect() } else { config.types };
        Self {
            dice: Dice::new(seed),
            users: Zipf::new(config.users, config.user_skew),
            type_ranks: Zipf::new(types.len() as u64, config.type_skew),
            types,
            size_bytes: config.size_bytes,
        }
    }

    /// The next event as JSON, with `now_ms` (milliseconds since the Unix epoch) as its timestamp.
    #[must_use]
    pub fn next_event(&mut self, now_ms: i64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512.max(self.size_bytes + 16));
        self.write_event(now_ms, &mut bytes);
        bytes
    }

    /// Appends the next event to `out` and returns its user's number, which is the key to partition by.
    pub fn write_event(&mut self, now_ms: i64, out: &mut Vec<u8>) -> u64 {
        let user = self.users.draw(&mut self.dice);
        let rank = self.type_ranks.draw(&mut self.dice);
        let event_type = usize::try_from(rank - 1).ok().and_then(|at| self.types.get(at)).map_or("event", |t| t);
        event::write(out, &mut self.dice, user, event_type, now_ms, self.size_bytes);
        user
    }

    /// Something that is almost an event, to test how bad input is told: cut short, not an object, a key twice, or not
    /// UTF-8. It never contains a newline.
    #[must_use]
    pub fn next_malformed(&mut self, now_ms: i64) -> Vec<u8> {
        let mut bytes = self.next_event(now_ms);
        match self.dice.below(4) {
            0 => bytes.truncate(bytes.len() / 2),
            1 => bytes = b"[\"an array\",\"is not an event\"]".to_vec(),
            2 => {
                bytes.pop();
                bytes.extend_from_slice(b",\"event_type\":\"a key given twice\"}");
            }
            _ => {
                bytes.pop();
                bytes.extend_from_slice(b",\"note\":\"\xff\xfe\"}");
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NOW_MS: i64 = 1_766_000_000_123;

    #[test]
    fn a_seed_gives_the_same_events() {
        let mut traffic = Traffic::new(1, TrafficConfig::default());
        let first = String::from_utf8(traffic.next_event(NOW_MS)).unwrap();
        let mut stable: serde_json::Value = serde_json::from_str(&first).unwrap();
        for words in ["city", "user_name", "merchant"] {
            let text = stable.as_object_mut().unwrap().remove(words).unwrap();
            assert!(!text.as_str().unwrap().is_empty());
        }
        let expected = serde_json::json!({
            "event_id": "f893a2ee-fb32-455e-b1c1-8690ee42c90b", "user_id": "user_55", "event_type": "page_view",
            "user_tier": "enterprise", "amount": 54.58, "timestamp": "2025-12-17T19:33:20.123Z", "country": "GB",
            "device": { "os": "iOS 18.2", "app": "mobile 5.3.1" }, "session": { "id": "se5dec8", "events": 36 },
        });
        assert_eq!(stable, expected);
        let again = Traffic::new(1, TrafficConfig::default()).next_event(NOW_MS);
        assert_eq!(first.as_bytes(), again);
        assert_ne!(first.as_bytes(), Traffic::new(2, TrafficConfig::default()).next_event(NOW_MS));
    }

    #[test]
    fn shares_are_as_told() {
        let mut traffic = Traffic::new(7, TrafficConfig::default());
        let mut tiers: HashMap<String, f64> = HashMap::new();
        let mut types: HashMap<String, f64> = HashMap::new();
        let (total, mut large) = (20_000_u32, 0.0);
        for _ in 0..total {
            let event: serde_json::Value = serde_json::from_slice(&traffic.next_event(NOW_MS)).unwrap();
            *tiers.entry(event["user_tier"].as_str().unwrap().to_owned()).or_default() += 1.0;
            *types.entry(event["event_type"].as_str().unwrap().to_owned()).or_default() += 1.0;
            if event["amount"].as_f64().unwrap() >= 100.0 {
                large += 1.0;
            }
        }
        for (tier, percent) in USER_TIERS {
            let share = tiers[tier] / f64::from(total) * 100.0;
            assert!((share - f64::from(percent)).abs() < 6.0, "{tier}: {share} % instead of {percent} %");
        }
        assert_eq!(types.len(), EVENT_TYPES.len());
        assert!(types["page_view"] > types["click"] && types["click"] > types["downgrade"]);
        assert!((0.15..0.35).contains(&(large / f64::from(total))));
    }

    #[test]
    fn size_types_and_users_are_honoured() {
        let config = TrafficConfig {
            users: 3,
            types: vec!["a\"b".to_owned()],
            size_bytes: 2_000,
            user_skew: 0.0,
            ..TrafficConfig::default()
        };
        let mut traffic = Traffic::new(3, config);
        for _ in 0..100 {
            let bytes = traffic.next_event(NOW_MS);
            assert_eq!(bytes.len(), 2_000);
            let event: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(event["event_type"], "a\"b");
            assert!(["user_1", "user_2", "user_3"].contains(&event["user_id"].as_str().unwrap()));
        }
    }

    #[test]
    fn malformed_events_stay_on_one_line() {
        let mut traffic = Traffic::new(3, TrafficConfig::default());
        for _ in 0..100 {
            assert!(!traffic.next_malformed(NOW_MS).contains(&b'\n'));
        }
    }
}
