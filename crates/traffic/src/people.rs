//! What a user always has: a name, a city, a tier, a country, a device. It follows from the number alone.

use fake::Fake;
use fake::faker::address::en::CityName;
use fake::faker::name::en::{FirstName, LastName};
use fake::rand::SeedableRng;
use fake::rand::rngs::StdRng;

use crate::USER_TIERS;

const COUNTRIES: [(&str, u8); 12] = [
    ("US", 30),
    ("DE", 12),
    ("GB", 10),
    ("FR", 9),
    ("IN", 9),
    ("BR", 8),
    ("JP", 6),
    ("ES", 5),
    ("NL", 4),
    ("PL", 3),
    ("SE", 2),
    ("AT", 2),
];

const SYSTEMS: [(&str, u8); 7] = [
    ("Android 15", 28),
    ("iOS 18.2", 20),
    ("iOS 17.6", 8),
    ("Windows 11", 22),
    ("macOS 15.1", 12),
    ("Android 14", 7),
    ("Linux", 3),
];

const APPS: [(&str, u8); 4] = [("web", 45), ("mobile 5.3.1", 35), ("mobile 5.2.0", 15), ("partner-api", 5)];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) first_name: String,
    pub(crate) last_name: String,
    pub(crate) city: String,
    pub(crate) tier: &'static str,
    pub(crate) country: &'static str,
    pub(crate) os: &'static str,
    pub(crate) app: &'static str,
}

impl Person {
    pub(crate) fn of(user: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(user);
        Self {
            first_name: FirstName().fake_with_rng(&mut rng),
            last_name: LastName().fake_with_rng(&mut rng),
            city: CityName().fake_with_rng(&mut rng),
            // Multiples of irrational numbers spread evenly over the unit interval, so that also the few most active
            // users, who make most of the traffic, have the shares of the table.
            tier: pick(&USER_TIERS, user, 0.618_033_988_749_894_9),
            country: pick(&COUNTRIES, user, 0.754_877_666_246_692_7),
            os: pick(&SYSTEMS, user, 0.569_840_290_998_053_3),
            app: pick(&APPS, user, 0.414_213_562_373_095_1),
        }
    }
}

/// The tables' percentages add up to 100.
fn pick(table: &[(&'static str, u8)], user: u64, step: f64) -> &'static str {
    let mut at = (user as f64 * step).fract() * 100.0;
    for (name, percent) in table {
        at -= f64::from(*percent);
        if at < 0.0 {
            return name;
        }
    }
    table[0].0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_percentages() {
        for table in [&USER_TIERS[..], &COUNTRIES, &SYSTEMS, &APPS] {
            assert_eq!(table.iter().map(|(_, percent)| u32::from(*percent)).sum::<u32>(), 100);
        }
    }
}
