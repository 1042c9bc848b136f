//! Any sequence of changes and events: the index answers as the oracle does, whatever it was shown of the traffic and
//! whenever filters were keyed anew.
#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use bytes::Bytes;
use evs_core::filter::ast::Literal;
use evs_core::index::{Match, MatchIndex, Scratch, Target};
use evs_core::{Event, Filter, FilterId, FilterVersion, Shard, Slot};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Insert {
        id: u8,
        slot: u8,
        types: Vec<Word>,
        tiers: Vec<Word>,
        min_amount: Option<Number>,
        where_: &'a str,
    },
    /// A conjunction or disjunction of simple tests, which random text seldom is.
    Compose {
        id: u8,
        any: bool,
        tests: Vec<(Field, Test)>,
    },
    /// Several of them, put in together.
    ComposeAll {
        all: Vec<(u8, bool, Vec<(Field, Test)>)>,
    },
    Remove {
        id: u8,
    },
    /// Changes that no event waits for: readers keep what they had, and the writer surveys that.
    Clear,
    Publish,
    /// Shows the writer an event some hundred times, for keys are judged by a number of events.
    Observe {
        hundreds: u8,
        values: Vec<(Field, Json)>,
    },
    ObserveText {
        text: &'a str,
    },
    /// A step of keying anew; `kept` says which of the named filters are not put in again.
    Rekey {
        max: u8,
        kept: u8,
    },
    /// Filters of two equalities, traffic that has one of them alone, and a step: what makes a key waste, which steps
    /// at random hardly ever come to.
    Waste {
        id: u8,
        count: u8,
        fields: (Field, Field),
        word: Word,
        other: Word,
        max: u8,
        kept: u8,
    },
    Event {
        text: &'a str,
    },
    Fields {
        values: Vec<(Field, Json)>,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Word {
    A,
    Ab,
    Abc,
    Accent,
    Empty,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(i8),
    Large(i64),
    Unsigned(u64),
    Double(f64),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Field {
    Type,
    Tier,
    Amount,
    Nested,
    Item,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Test {
    Number(u8, Number),
    Word(u8, Word),
    Between(Number, Number),
    In(Word, Number),
    NotIn(Word, Number),
    Has,
    HasNot,
    Bare,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Word(Word),
    Empty,
}

impl Word {
    fn text(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::Ab => "ab",
            Self::Abc => "abc",
            Self::Accent => "é",
            Self::Empty => "",
        }
    }
}

impl Number {
    fn literal(self) -> Literal {
        match self {
            Self::Small(n) => Literal::Int(n.into()),
            Self::Large(n) => Literal::Int(n),
            Self::Unsigned(n) => Literal::Uint(n),
            Self::Double(n) => Literal::Double(if n.is_finite() { n } else { 0.5 }),
        }
    }

    fn json(self) -> serde_json::Value {
        match self.literal() {
            Literal::Int(n) => n.into(),
            Literal::Uint(n) => n.into(),
            Literal::Double(n) => n.into(),
            _ => serde_json::Value::Null,
        }
    }

    /// As a `where` expression writes it.
    fn text(self) -> String {
        match self.literal() {
            Literal::Int(n) => n.to_string(),
            Literal::Uint(n) => format!("{n}u"),
            Literal::Double(n) => format!("{n:?}"),
            _ => "0".into(),
        }
    }
}

impl Field {
    fn text(self) -> &'static str {
        match self {
            Self::Type => "event_type",
            Self::Tier => "user_tier",
            Self::Amount => "amount",
            Self::Nested => "device.os",
            Self::Item => "tags[0]",
        }
    }
}

impl Test {
    fn text(self, field: Field) -> String {
        let field = field.text();
        match self {
            Self::Number(op, n) => format!("{field} {} {}", OPS[op as usize % OPS.len()], n.text()),
            Self::Word(op, word) => match op % 10 {
                op @ 0..6 => format!("{field} {} \"{}\"", OPS[op as usize], word.text()),
                6 => format!("{field}.startsWith(\"{}\")", word.text()),
                7 => format!("!{field}.startsWith(\"{}\")", word.text()),
                8 => format!("{field}.endsWith(\"{}\")", word.text()),
                _ => format!("{field}.contains(\"{}\")", word.text()),
            },
            Self::Between(low, high) => format!("{field} >= {} && {field} < {}", low.text(), high.text()),
            Self::In(word, n) => format!("{field} in [\"{}\", {}, true]", word.text(), n.text()),
            Self::NotIn(word, n) => format!("!({field} in [\"{}\", {}])", word.text(), n.text()),
            Self::Has => "has(amount)".into(),
            Self::HasNot => "!has(device.os)".into(),
            Self::Bare => field.into(),
        }
    }
}

const OPS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

fn event(values: &[(Field, Json)]) -> String {
    let mut map = serde_json::Map::new();
    for (field, value) in values {
        let value = match value {
            Json::Null => serde_json::Value::Null,
            Json::Bool(value) => (*value).into(),
            Json::Number(n) => n.json(),
            Json::Word(word) => word.text().into(),
            Json::Empty => serde_json::json!({}),
        };
        match field {
            Field::Nested => _ = map.insert("device".into(), serde_json::json!({ "os": value })),
            Field::Item => _ = map.insert("tags".into(), serde_json::json!([value])),
            field => _ = map.insert(field.text().into(), value),
        }
    }
    serde_json::Value::Object(map).to_string()
}

/// Events that one input may show: enough for several judgements, few enough to stay fast.
const OBSERVED_MAX: u32 = 12_000;

/// The index beside what it must answer.
struct Pair {
    index: MatchIndex,
    oracle: BTreeMap<FilterId, (Target, Filter)>,
    observed: u32,
}

impl Pair {
    fn insert(&mut self, id: u8, slot: u8, filter: Filter) {
        let target = Target { shard: Shard(u16::from(slot % 3)), slot: Slot(slot.into()) };
        self.index.insert(FilterId(id.into()), target, &filter);
        self.oracle.insert(FilterId(id.into()), (target, filter));
    }

    /// The same filter many times, together.
    fn insert_all(&mut self, id: u8, count: u8, filter: &Filter) {
        let all = (0..=count).map(|n| {
            let target = Target { shard: Shard(u16::from(n % 3)), slot: Slot(n.into()) };
            (FilterId(id.wrapping_add(n).into()), target, filter)
        });
        self.index.insert_all(all.clone());
        self.oracle.extend(all.map(|(id, target, filter)| (id, (target, filter.clone()))));
    }

    fn remove(&mut self, id: u8) {
        let removed = self.index.remove(FilterId(id.into()));
        assert_eq!(removed, self.oracle.remove(&FilterId(id.into())).is_some());
    }

    fn observe(&mut self, text: String, times: u32) {
        let Ok(event) = Event::parse(Bytes::from(text)) else { return };
        let times = times.min(OBSERVED_MAX - self.observed);
        self.observed += times;
        (0..times).for_each(|_| self.index.observe(&event));
    }

    fn rekey(&mut self, max: u8, kept: u8) {
        let named = self.index.misplaced(max.into());
        assert!(named.len() <= max.into());
        let again = named.into_iter().enumerate().filter(|(at, _)| kept >> (at % 8) & 1 == 0);
        let again = again.filter_map(|(_, id)| self.oracle.get(&id).map(|(target, filter)| (id, *target, filter)));
        self.index.insert_all(again);
    }
}

fn composed(any: bool, tests: &[(Field, Test)]) -> Option<Filter> {
    let tests: Vec<String> = tests.iter().map(|(field, test)| format!("({})", test.text(*field))).collect();
    Filter::new(vec![], vec![], None, Some(&tests.join(if any { " || " } else { " && " }))).ok()
}

fuzz_target!(|steps: Vec<Step<'_>>| {
    let mut pair = Pair { index: MatchIndex::new(), oracle: BTreeMap::new(), observed: 0 };
    let mut reader = pair.index.reader();
    let (mut scratch, mut found) = (Scratch::default(), Vec::new());
    for (version, step) in (1..).zip(steps) {
        let text = match step {
            Step::Insert { id, slot, types, tiers, min_amount, where_ } => {
                let words = |words: Vec<Word>| words.into_iter().map(|word| word.text().into()).collect();
                let where_ = (!where_.is_empty()).then_some(where_);
                let min_amount = min_amount.map(Number::literal);
                if let Ok(filter) = Filter::new(words(types), words(tiers), min_amount, where_) {
                    pair.insert(id, slot, filter);
                }
                continue;
            }
            Step::Compose { id, any, tests } => {
                if let Some(filter) = composed(any, &tests) {
                    pair.insert(id, id, filter);
                }
                continue;
            }
            Step::ComposeAll { all } => {
                let target = |id: u8| Target { shard: Shard(u16::from(id % 3)), slot: Slot(id.into()) };
                let all = all.iter().filter_map(|(id, any, tests)| Some((*id, composed(*any, tests)?)));
                let all: Vec<_> = all.map(|(id, filter)| (FilterId(id.into()), target(id), filter)).collect();
                pair.index.insert_all(all.iter().map(|(id, target, filter)| (*id, *target, filter)));
                pair.oracle.extend(all.into_iter().map(|(id, target, filter)| (id, (target, filter))));
                continue;
            }
            Step::Remove { id } => {
                pair.remove(id);
                continue;
            }
            Step::Clear => {
                pair.index.clear();
                pair.oracle.clear();
                continue;
            }
            Step::Publish => {
                pair.index.publish(FilterVersion(version));
                continue;
            }
            Step::Observe { hundreds, values } => {
                pair.observe(event(&values), 128 * u32::from(hundreds % 12 + 1));
                continue;
            }
            Step::ObserveText { text } => {
                pair.observe(text.to_owned(), 1);
                continue;
            }
            Step::Rekey { max, kept } => {
                pair.rekey(max, kept);
                continue;
            }
            Step::Waste { id, count, fields: (first, second), word, other, max, kept } => {
                let tests = [Test::Word(0, word).text(first), Test::Word(0, other).text(second)];
                if let Ok(filter) = Filter::new(vec![], vec![], None, Some(&tests.join(" && "))) {
                    pair.insert_all(id, count % 24, &filter);
                }
                pair.index.publish(FilterVersion(version));
                // Which of the two is the key is the index's choice, so that each is shown alone.
                pair.observe(event(&[(first, Json::Word(word))]), 512);
                pair.observe(event(&[(second, Json::Word(other))]), 512);
                pair.rekey(max, kept);
                event(&[(first, Json::Word(word)), (second, Json::Word(other))])
            }
            Step::Event { text } => text.to_owned(),
            Step::Fields { values } => event(&values),
        };
        let Ok(event) = Event::parse(Bytes::from(text)) else { continue };
        pair.index.publish(FilterVersion(version));
        reader.snapshot().matches(&event, &mut scratch, &mut found);
        let value = event.value();
        let mut wanted: Vec<Match> = pair
            .oracle
            .iter()
            .filter(|(_, (_, filter))| filter.matches_value(&value))
            .map(|(id, (target, _))| Match { target: *target, filter: *id })
            .collect();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{event:?}");
        assert_eq!(pair.index.stats().filters, pair.oracle.len());
    }
});
