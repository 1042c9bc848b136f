//! Generators of filters and of events that meet them, for property tests and benchmarks.
//!
//! Both draw from the same few fields and values, so that matches, near misses, absent fields and wrong types are all
//! frequent. Every tree is canonical, as [`parse_where`](super::parse_where) would give it: `&&` and `||` are flat and
//! nothing is negated twice.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value};

use super::Filter;
use super::ast::{CompareOp, Expr, Literal, Path, Segment, StringFunction, Term};

const EVENT_TYPES: [&str; 5] = ["purchase", "refund", "login", "logout", "signup"];
const USER_TIERS: [&str; 3] = ["free", "premium", "enterprise"];
const STRINGS: [&str; 12] = ["", "a", "ab", "abc", "b", "DE", "FR", "é", "z\"'\\\n", "purchase", "login", "premium"];
const PATTERNS: [&str; 7] = ["", "a", "^a", "b$", "^(purchase|refund)$", "(?i)de", "[^a]"];
const INTEGERS: [i64; 12] = [0, 1, -1, 2, 3, 5, 100, 101, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN];
const UINTS: [u64; 6] = [0, 1, 100, 1 << 63, (1 << 63) + 1, u64::MAX];
const DOUBLES: [f64; 12] = [
    0.0,
    -0.0,
    0.5,
    1.0,
    1.5,
    99.99,
    100.0,
    -1e-9,
    9007199254740992.0,
    9223372036854775808.0,
    -9223372036854775808.0,
    1e300,
];

/// As many values as asked for, the same for the same seed: for benchmarks and for tests that loop by themselves.
#[must_use]
pub fn sample<T>(strategy: &impl Strategy<Value = T>, seed: u64, count: usize) -> Vec<T> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    // A strategy fails only by rejecting values, which those of this file never do.
    let mut next = || strategy.new_tree(&mut runner).expect("the strategy rejects no value").current();
    (0..count).map(|_| next()).collect()
}

/// Any filter: typed fields, `where`, both or neither.
pub fn filter() -> impl Strategy<Value = Filter> {
    let boxed = |values: Vec<&str>| values.into_iter().map(Arc::from).collect::<Vec<Arc<str>>>();
    let types = prop_oneof![2 => Just(vec![]), 3 => subsequence(&EVENT_TYPES, 1..=3)].prop_map(boxed);
    let tiers = prop_oneof![3 => Just(vec![]), 2 => subsequence(&USER_TIERS, 1..=2)].prop_map(boxed);
    let min_amount = option::weighted(0.3, number());
    let where_ = option::weighted(0.7, expr());
    (types, tiers, min_amount, where_).prop_map(|(event_types, user_tiers, min_amount, where_)| Filter {
        event_types,
        user_tiers,
        min_amount,
        where_,
    })
}

/// Any `where` expression, a few levels deep.
pub fn expr() -> impl Strategy<Value = Expr> {
    condition().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            3 => vec(inner.clone(), 2..=4).prop_map(and),
            3 => vec(inner.clone(), 2..=4).prop_map(or),
            2 => inner.prop_map(not),
        ]
    })
}

/// An expression without `&&`, `||` and `!`.
pub fn condition() -> impl Strategy<Value = Expr> {
    prop_oneof![
        8 => (compare_op(), path(), literal(), any::<bool>()).prop_map(|(op, path, literal, swap)| {
            let (left, right) = (Term::Field(path), Term::Literal(literal));
            if swap { Expr::Compare { op, left: right, right: left } } else { Expr::Compare { op, left, right } }
        }),
        2 => (compare_op(), term(), term()).prop_map(|(op, left, right)| Expr::Compare { op, left, right }),
        4 => (path(), list()).prop_map(|(path, list)| Expr::In { item: Term::Field(path), list }),
        2 => (term(), prop_oneof![list(), path().prop_map(Term::Field)])
            .prop_map(|(item, list)| Expr::In { item, list }),
        3 => (string_function(), string_term(), string_term())
            .prop_map(|(function, target, arg)| Expr::Call { function, target, arg }),
        2 => (string_term(), select(&PATTERNS[..])).prop_map(|(target, pattern)| Expr::Call {
            function: StringFunction::Matches,
            target,
            arg: Term::Literal(Literal::String(pattern.into())),
        }),
        2 => path().prop_map(Expr::Has),
        2 => path().prop_map(|path| Expr::Bare(Term::Field(path))),
        1 => any::<bool>().prop_map(|value| Expr::Bare(Term::Literal(Literal::Bool(value)))),
    ]
}

/// Fields that [`event`] fills now and then, and a few that it never has.
pub fn path() -> impl Strategy<Value = Path> {
    let key = |key: &str| Segment::Key(key.into());
    let top = |name: &str| Path([key(name)].into());
    let known = select(vec![
        top("event_type"),
        top("user_tier"),
        top("amount"),
        top("country"),
        top("flag"),
        top("x"),
        top("tags"),
        top("device"),
        Path([key("device"), key("os")].into()),
        Path([key("device"), key("x-id")].into()),
        Path([key("device"), key("os"), key("version")].into()),
        Path([key("tags"), Segment::Index(0)].into()),
        Path([key("tags"), Segment::Index(1), key("os")].into()),
    ]);
    let segment =
        prop_oneof![any::<String>().prop_map(|key| Segment::Key(key.into())), any::<u64>().prop_map(Segment::Index)];
    let free = ("[a-z_][A-Za-z0-9_]{0,3}", vec(segment, 0..3)).prop_filter_map("a reserved word", |(first, rest)| {
        let allowed = super::lexer::is_selector(&first) && !super::lexer::is_reserved(&first) && first != "not";
        allowed.then(|| Path([Segment::Key(first.into())].into_iter().chain(rest).collect()))
    });
    prop_oneof![30 => known, 1 => free]
}

pub fn literal() -> impl Strategy<Value = Literal> {
    prop_oneof![
        1 => Just(Literal::Null),
        2 => any::<bool>().prop_map(Literal::Bool),
        5 => number(),
        5 => string(),
    ]
}

/// A number of any of the three kinds, mostly from a few that events have too.
pub fn number() -> impl Strategy<Value = Literal> {
    prop_oneof![
        6 => select(&INTEGERS[..]).prop_map(Literal::Int),
        3 => select(&DOUBLES[..]).prop_map(Literal::Double),
        2 => select(&UINTS[..]).prop_map(Literal::Uint),
        1 => any::<i64>().prop_map(Literal::Int),
        1 => any::<f64>().prop_map(|n| Literal::Double(if n.is_finite() { n } else { 0.25 })),
    ]
}

fn string() -> impl Strategy<Value = Literal> {
    let known =
        select([&STRINGS[..], &EVENT_TYPES, &USER_TIERS].concat()).prop_map(|text| Literal::String(text.into()));
    prop_oneof![20 => known, 1 => any::<String>().prop_map(|text| Literal::String(text.into()))]
}

fn term() -> impl Strategy<Value = Term> {
    prop_oneof![6 => path().prop_map(Term::Field), 3 => literal().prop_map(Term::Literal), 1 => list()]
}

fn string_term() -> impl Strategy<Value = Term> {
    prop_oneof![path().prop_map(Term::Field), string().prop_map(Term::Literal)]
}

fn list() -> impl Strategy<Value = Term> {
    let item = prop_oneof![9 => literal().prop_map(Term::Literal), 1 => path().prop_map(Term::Field)];
    vec(item, 0..5).prop_map(Term::List)
}

fn compare_op() -> impl Strategy<Value = CompareOp> {
    use CompareOp::{Eq, Ge, Gt, Le, Lt, Ne};
    prop_oneof![3 => Just(Eq), 1 => select(vec![Ne, Lt, Le, Gt, Ge])]
}

/// Those that take any text; `matches` needs a pattern.
fn string_function() -> impl Strategy<Value = StringFunction> {
    select(vec![StringFunction::StartsWith, StringFunction::EndsWith, StringFunction::Contains])
}

fn and(operands: Vec<Expr>) -> Expr {
    Expr::And(operands.into_iter().flat_map(|e| if let Expr::And(inner) = e { inner } else { vec![e] }).collect())
}

fn or(operands: Vec<Expr>) -> Expr {
    Expr::Or(operands.into_iter().flat_map(|e| if let Expr::Or(inner) = e { inner } else { vec![e] }).collect())
}

fn not(expr: Expr) -> Expr {
    if let Expr::Not(inner) = expr { *inner } else { Expr::Not(Box::new(expr)) }
}

/// Any event as a tree; its text is one that [`Event::parse`](crate::Event::parse) accepts.
pub fn event() -> impl Strategy<Value = Value> {
    let mostly = |usual: BoxedStrategy<Value>| prop_oneof![6 => usual, 1 => json_leaf(), 1 => json_inner()].boxed();
    let text = |values: &'static [&'static str]| select(values).prop_map(Value::from).boxed();
    let number = || number().prop_map(|n| json(&n)).boxed();
    let fields: Vec<(&str, f64, BoxedStrategy<Value>)> = vec![
        ("event_type", 0.9, mostly(text(&EVENT_TYPES))),
        ("user_tier", 0.8, mostly(text(&USER_TIERS))),
        ("amount", 0.8, mostly(number())),
        ("country", 0.5, mostly(text(&STRINGS))),
        ("flag", 0.5, mostly(any::<bool>().prop_map(Value::from).boxed())),
        ("x", 0.5, prop_oneof![json_leaf(), json_inner()].boxed()),
        ("tags", 0.5, mostly(vec(json_leaf(), 0..3).prop_map(Value::from).boxed())),
        ("device", 0.6, mostly(device().boxed())),
    ];
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, share, value)| {
            option::weighted(share, value).prop_map(move |value| Some((name.to_owned(), value?)))
        })
        .collect();
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect()))
}

fn device() -> impl Strategy<Value = Value> {
    let os = prop_oneof![json_leaf(), json_leaf().prop_map(|v| Map::from_iter([("version".to_owned(), v)]).into())];
    (option::weighted(0.8, os), option::of(json_leaf())).prop_map(|(os, id)| {
        [("os", os), ("x-id", id)].into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    })
}

fn json_leaf() -> impl Strategy<Value = Value> + Clone {
    literal().prop_map(|literal| json(&literal)).boxed()
}

fn json_inner() -> impl Strategy<Value = Value> + Clone {
    let key = select(vec!["a", "os", "x-id", "purchase"]).prop_map(str::to_owned);
    prop_oneof![
        vec(json_leaf(), 0..4).prop_map(Value::from),
        vec((key, json_leaf()), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
    ]
    .boxed()
}

fn json(literal: &Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => (*value).into(),
        Literal::Int(n) => (*n).into(),
        Literal::Uint(n) => (*n).into(),
        Literal::Double(n) => (*n).into(),
        Literal::String(text) => (&**text).into(),
    }
}
