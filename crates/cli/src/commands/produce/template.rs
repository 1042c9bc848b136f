//! Events from a template: JSON text with `{{…}}` for what changes.

use evs_traffic::dice::{Dice, Zipf};
use evs_traffic::{EVENT_TYPES, TrafficConfig, USER_TIERS};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Count,
    Now,
    NowMs,
    Uuid,
    User,
    Type,
    Tier,
    Random(i64, i64),
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else {
                return Err(format!("the template has a {{{{ without }}}}: {after:?}"));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::parse(name.trim())?);
            rest = after;
            // `{{x}}}` ends an object as well: the outermost braces are the text's.
        }
        parts.push(Part::Text(rest.replace(['\n', '\r'], " ")));
        Ok(Self { parts })
    }

    pub(super) fn fill(self, seed: u64, config: TrafficConfig) -> Filled {
        let types = if config.types.is_empty() { EVENT_TYPES.map(String::from).to_vec() } else { config.types };
        Filled {
            template: self,
            dice: Dice::new(seed),
            users: Zipf::new(config.users, config.user_skew),
            type_ranks: Zipf::new(types.len() as u64, config.type_skew),
            types,
            count: 0,
        }
    }
}

impl Part {
    fn parse(name: &str) -> Result<Self, String> {
        let words: Vec<_> = name.split_whitespace().collect();
        Ok(match words.as_slice() {
            ["count"] => Self::Count,
            ["now"] => Self::Now,
            ["now_ms"] => Self::NowMs,
            ["uuid"] => Self::Uuid,
            ["user"] => Self::User,
            ["type"] => Self::Type,
            ["tier"] => Self::Tier,
            ["random", low, high] => match (low.parse(), high.parse()) {
                (Ok(low), Ok(high)) if low <= high => Self::Random(low, high),
                _ => return Err(format!("{{{{{name}}}}} needs two whole numbers, the smaller one first")),
            },
            _ => {
                return Err(format!(
                    "the template does not know {{{{{name}}}}}; it knows count, now, now_ms, uuid, user, type, tier \
                     and random A B"
                ));
            }
        })
    }
}

pub(super) struct Filled {
    template: Template,
    dice: Dice,
    users: Zipf,
    types: Vec<String>,
    type_ranks: Zipf,
    count: u64,
}

impl Filled {
    pub(super) fn next(&mut self, now_ms: i64) -> Vec<u8> {
        self.count += 1;
        let dice = &mut self.dice;
        let mut out = String::new();
        for part in &self.template.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Count => out.push_str(&self.count.to_string()),
                Part::Now => out.push_str(&crate::output::time_ms(now_ms)),
                Part::NowMs => out.push_str(&now_ms.to_string()),
                Part::Uuid => {
                    let (high, low) = (dice.next_u64(), dice.next_u64());
                    out.push_str(&format!(
                        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
                        high >> 32,
                        (high >> 16) & 0xffff,
                        high & 0xfff,
                        0x8000 | (low >> 48) & 0x3fff,
                        low & 0xffff_ffff_ffff
                    ));
                }
                Part::User => out.push_str(&format!("user_{}", self.users.draw(dice))),
                Part::Type => {
                    let rank = self.type_ranks.draw(dice) as usize;
                    out.push_str(self.types.get(rank - 1).map_or("event", |name| name));
                }
                Part::Tier => {
                    let mut at = dice.below(100);
                    for (tier, percent) in USER_TIERS {
                        if at < u64::from(percent) {
                            out.push_str(tier);
                            break;
                        }
                        at -= u64::from(percent);
                    }
                }
                Part::Random(low, high) => {
                    let span = high.abs_diff(*low).saturating_add(1);
                    out.push_str(&low.saturating_add_unsigned(dice.below(span)).to_string());
                }
            }
        }
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_make_json() {
        let text = r#"{"n":{{count}},"user_id":"{{user}}","t":"{{type}}","tier":"{{tier}}","a":{{random -2 2}},"id":"{{uuid}}","o":{"x":{{ now_ms }}}}"#;
        let mut filled = Template::parse(text).unwrap().fill(1, TrafficConfig::default());
        for n in 1..100 {
            let event: serde_json::Value = serde_json::from_slice(&filled.next(5)).unwrap();
            assert_eq!(event["n"], n);
            assert_eq!(event["o"]["x"], 5);
            assert!((-2..=2).contains(&event["a"].as_i64().unwrap()));
            assert!(USER_TIERS.iter().any(|(tier, _)| event["tier"] == *tier));
        }
    }

    #[test]
    fn mistakes_are_told() {
        assert!(Template::parse("{{").unwrap_err().contains("without"));
        assert!(Template::parse("{{nope}}").unwrap_err().contains("it knows count"));
        assert!(Template::parse("{{random 5 1}}").unwrap_err().contains("smaller one first"));
    }
}
