//! Code: what is left of a filter after key, order and gates, as a tree in prefix order that is evaluated in place.
//!
//! A node's first word is its operation and its length in words, so that a decided `and` or `or` skips the rest.

use std::cell::OnceCell;
use std::sync::Arc;

use smallvec::SmallVec;

use super::chunk::ChunkId;
use super::extract::{Value, Values};
use super::fields::Field;
use super::formula::{self, Formula, Scalar, Test};
use super::number::{Bound, Number};
use super::pool::{Item, Pool};
use super::snapshot::Named;
use super::symbols::{NONE, SymbolId};
use crate::filter::ast::{CompareOp, StringFunction};
use crate::filter::{Outcome, eval};

const AND: u32 = 0;
const OR: u32 = 1;
const PRESENT: u32 = 2;
const ABSENT: u32 = 3;
const LACKS: u32 = 4;
const ONE_OF: u32 = 5;
const RANGE: u32 = 6;
const ORDER: u32 = 7;
const TEXT: u32 = 8;
const OPAQUE: u32 = 9;
const HOLDS: u32 = 10;

const OPERATION_BITS: u32 = 4;
const OPERATION: u32 = (1 << OPERATION_BITS) - 1;

/// A field and a few flags share a word.
const FLAGS_SHIFT: u32 = 16;

const NEGATED: u32 = 1 << 8;

const LOW: u32 = 1;
const LOW_INCLUSIVE: u32 = 2;
const HIGH: u32 = 4;
const HIGH_INCLUSIVE: u32 = 8;

/// Words of the node that code begins with.
#[inline]
pub(super) fn length(code: &[u32]) -> usize {
    code.first().map_or(0, |word| (word >> OPERATION_BITS) as usize)
}

/// What code refers to, and must keep alive.
pub(super) enum Reference {
    Field(Field),
    Symbol(SymbolId),
    Item(u32),
}

/// Code that is true for every event: a conjunction of nothing.
pub(super) fn always() -> Vec<u32> {
    vec![AND | 1 << OPERATION_BITS]
}

/// Gives numbers to the values and texts that code names.
pub(super) trait Names {
    fn symbol(&mut self, field: Field, value: &formula::Value<'_>) -> SymbolId;
    fn element(&mut self, field: Field, value: Scalar<'_>) -> SymbolId;
    fn item(&mut self, item: Item) -> u32;
}

/// Appends the code of a formula that is neither always nor never true.
pub(super) fn encode(formula: &Formula<'_>, names: &mut impl Names, code: &mut Vec<u32>) {
    let start = code.len();
    code.push(0);
    let operation = match formula {
        Formula::And(parts) | Formula::Or(parts) => {
            let mut order: SmallVec<[&Formula<'_>; 8]> = parts.iter().collect();
            order.sort_by_key(|part| cost(part));
            for part in order {
                encode(part, names, code);
            }
            if matches!(formula, Formula::And(_)) { AND } else { OR }
        }
        // An empty conjunction is true, an empty disjunction false.
        Formula::Any => AND,
        Formula::Never => OR,
        Formula::Test(test) => encode_test(test, names, code),
    };
    let length = u32::try_from(code.len() - start).unwrap_or(u32::MAX >> OPERATION_BITS);
    code[start] = operation | length << OPERATION_BITS;
}

/// Cheap tests go first.
fn cost(formula: &Formula<'_>) -> u32 {
    match formula {
        Formula::Any | Formula::Never => 0,
        Formula::And(parts) | Formula::Or(parts) => 2 + parts.iter().map(cost).sum::<u32>(),
        Formula::Test(Test::Opaque { .. }) => 10_000,
        Formula::Test(Test::Text { function: StringFunction::Matches, .. }) => 100,
        Formula::Test(Test::Text { .. } | Test::Order { .. }) => 10,
        Formula::Test(Test::OneOf { values, .. }) => 1 + u32::try_from(values.len() / 4).unwrap_or(1000),
        Formula::Test(_) => 1,
    }
}

fn encode_test(test: &Test<'_>, names: &mut impl Names, code: &mut Vec<u32>) -> u32 {
    let plain = |field: &Field| u32::from(field.0);
    match test {
        Test::Present(field) => {
            code.push(plain(field));
            PRESENT
        }
        Test::Absent(field) => {
            code.push(plain(field));
            ABSENT
        }
        Test::Lacks { parent, child } => {
            code.push(plain(parent) | plain(child) << FLAGS_SHIFT);
            LACKS
        }
        Test::OneOf { field, values, negated } => {
            code.push(plain(field) | u32::from(*negated) << FLAGS_SHIFT);
            code.extend(values.iter().map(|value| names.symbol(*field, value)));
            ONE_OF
        }
        Test::Range { field, low, high } => {
            let low_flags = low.map_or(0, |low| LOW | if low.inclusive { LOW_INCLUSIVE } else { 0 });
            let high_flags = high.map_or(0, |high| HIGH | if high.inclusive { HIGH_INCLUSIVE } else { 0 });
            code.push(plain(field) | (low_flags | high_flags) << FLAGS_SHIFT);
            for bound in [low, high].into_iter().flatten() {
                push_number(bound.at, code);
            }
            RANGE
        }
        Test::Order { field, op, text } => {
            code.push(plain(field) | op_flag(*op) << FLAGS_SHIFT);
            code.push(names.item(Item::Text(Arc::clone(text))));
            ORDER
        }
        Test::Text { field, function, pattern, negated } => {
            let flag = function_flag(*function) | if *negated { NEGATED } else { 0 };
            code.push(plain(field) | flag << FLAGS_SHIFT);
            code.push(names.item(match function {
                StringFunction::Matches => Item::pattern(Arc::clone(pattern)),
                _ => Item::Text(Arc::clone(pattern)),
            }));
            TEXT
        }
        Test::Holds { field, value, negated } => {
            code.push(plain(field) | u32::from(*negated) << FLAGS_SHIFT);
            code.push(names.element(*field, *value));
            HOLDS
        }
        Test::Opaque { expr, negated } => {
            code.push(if *negated { NEGATED } else { 0 });
            code.push(names.item(Item::Expr(Arc::new((*expr).clone()))));
            OPAQUE
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are meant")]
fn push_number(number: Number, code: &mut Vec<u32>) {
    code.extend([number.floor as u32, (number.floor >> 32) as u32, number.rest.into()]);
}

fn read_number(code: &[u32]) -> Number {
    Number { floor: u64::from(code[0]) | u64::from(code[1]) << 32, rest: u16::try_from(code[2]).unwrap_or_default() }
}

const OPS: [CompareOp; 4] = [CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge];

fn op_flag(op: CompareOp) -> u32 {
    OPS.iter().zip(0..).find(|(other, _)| **other == op).map_or(0, |(_, flag)| flag)
}

const FUNCTIONS: [StringFunction; 4] =
    [StringFunction::StartsWith, StringFunction::EndsWith, StringFunction::Contains, StringFunction::Matches];

fn function_flag(function: StringFunction) -> u32 {
    FUNCTIONS.iter().zip(0..).find(|(other, _)| **other == function).map_or(0, |(_, flag)| flag)
}

/// Calls back with everything that code refers to.
pub(super) fn references(code: &[u32], each: &mut impl FnMut(Reference)) {
    let end = length(code);
    if end == 0 {
        return;
    }
    let field = |word: u32| Reference::Field(Field((word & 0xffff) as u16));
    match code[0] & OPERATION {
        AND | OR => {
            let mut at = 1;
            while at < end {
                references(&code[at..], each);
                at += length(&code[at..]).max(1);
            }
        }
        LACKS => {
            each(field(code[1]));
            each(field(code[1] >> FLAGS_SHIFT));
        }
        ONE_OF | HOLDS => {
            each(field(code[1]));
            for symbol in &code[2..end] {
                each(Reference::Symbol(*symbol));
            }
        }
        ORDER | TEXT => {
            each(field(code[1]));
            each(Reference::Item(code[2]));
        }
        OPAQUE => each(Reference::Item(code[2])),
        _ => each(field(code[1])),
    }
}

/// The event that code is evaluated for.
pub(super) struct Subject<'a> {
    pub(super) event: &'a [u8],
    pub(super) values: &'a Values,
    /// By field, the symbol of the event's value there.
    pub(super) named: &'a [Named],
    /// The symbols of the elements of its lists, sorted.
    pub(super) elements: &'a [(SymbolId, ChunkId)],
    pub(super) pool: &'a Pool,
    /// The event as a tree, for what only the oracle's evaluator can do; parsed at most once.
    pub(super) tree: &'a OnceCell<serde_json::Value>,
}

impl Subject<'_> {
    #[inline]
    fn value(&self, word: u32) -> Value {
        self.values.get(Field((word & 0xffff) as u16))
    }

    pub(super) fn satisfies(&self, code: &[u32]) -> bool {
        let Some(first) = code.first() else { return true };
        let end = (first >> OPERATION_BITS) as usize;
        match first & OPERATION {
            operation @ (AND | OR) => {
                let decisive = operation == OR;
                let mut at = 1;
                while at < end {
                    if self.satisfies(&code[at..]) == decisive {
                        return decisive;
                    }
                    at += length(&code[at..]).max(1);
                }
                !decisive
            }
            PRESENT => self.value(code[1]) != Value::Absent,
            ABSENT => self.value(code[1]) == Value::Absent,
            LACKS => {
                matches!(self.value(code[1]), Value::Map(_)) && self.value(code[1] >> FLAGS_SHIFT) == Value::Absent
            }
            ONE_OF => {
                let negated = code[1] >> FLAGS_SHIFT != 0;
                let field = (code[1] & 0xffff) as usize;
                let symbol = self.named.get(field).map_or(NONE, |named| named.symbol);
                let found = symbol != NONE && code[2..end].contains(&symbol);
                found != negated && (!negated || self.value(code[1]) != Value::Absent)
            }
            HOLDS => {
                let negated = code[1] >> FLAGS_SHIFT != 0;
                matches!(self.value(code[1]), Value::List(_) | Value::Map(_))
                    && self.elements.binary_search_by_key(&code[2], |(id, _)| *id).is_ok() != negated
            }
            RANGE => {
                let Value::Number(number) = self.value(code[1]) else { return false };
                in_range(number, code)
            }
            ORDER => {
                let text = self.values.text(self.value(code[1]), self.event);
                let (Some(text), Some(Item::Text(than))) = (text, self.pool.get(code[2])) else { return false };
                let order = text.cmp(than.as_bytes());
                match OPS[(code[1] >> FLAGS_SHIFT) as usize & 3] {
                    CompareOp::Lt => order.is_lt(),
                    CompareOp::Le => order.is_le(),
                    CompareOp::Gt => order.is_gt(),
                    _ => order.is_ge(),
                }
            }
            TEXT => self.text(code),
            OPAQUE => self.opaque(code),
            _ => false,
        }
    }

    fn text(&self, code: &[u32]) -> bool {
        let text = self.values.text(self.value(code[1]), self.event);
        let (Some(text), Some(item)) = (text, self.pool.get(code[2])) else { return false };
        let flags = code[1] >> FLAGS_SHIFT;
        let found = match (FUNCTIONS[flags as usize & 3], item) {
            (StringFunction::StartsWith, Item::Text(pattern)) => text.starts_with(pattern.as_bytes()),
            (StringFunction::EndsWith, Item::Text(pattern)) => text.ends_with(pattern.as_bytes()),
            (StringFunction::Contains, Item::Text(pattern)) => memchr::memmem::find(text, pattern.as_bytes()).is_some(),
            (StringFunction::Matches, Item::Pattern { regex: Some(regex), .. }) => {
                std::str::from_utf8(text).is_ok_and(|text| regex.is_match(text))
            }
            _ => return false,
        };
        found != (flags & NEGATED != 0)
    }

    fn opaque(&self, code: &[u32]) -> bool {
        let Some(Item::Expr(expr)) = self.pool.get(code[2]) else { return false };
        let tree = self.tree.get_or_init(|| serde_json::from_slice(self.event).unwrap_or_default());
        match eval(expr, tree) {
            Outcome::Error(_) => false,
            outcome => outcome.is_true() != (code[1] & NEGATED != 0),
        }
    }
}

fn in_range(number: Number, code: &[u32]) -> bool {
    let flags = code[1] >> FLAGS_SHIFT;
    let mut at = 2;
    if flags & LOW != 0 {
        let bound = Bound { at: read_number(&code[at..]), inclusive: flags & LOW_INCLUSIVE != 0 };
        if !bound.admits_from_below(number) {
            return false;
        }
        at += 3;
    }
    if flags & HIGH != 0 {
        let bound = Bound { at: read_number(&code[at..]), inclusive: flags & HIGH_INCLUSIVE != 0 };
        return bound.admits_from_above(number);
    }
    true
}
