//! A filter in negation normal form: conjunctions and disjunctions of tests that are each true or not, never an error.
//!
//! In this form the three values of `where` expressions become two: a test, negated or not, is true only if its field
//! is there and, for orders and string functions, of the right type.
//!
//! Formulas borrow from the filter and lie in an arena that is emptied now and then: making, joining and copying
//! them allocates nothing.

use std::cell::{Cell, OnceCell};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use bumpalo::Bump;
use bumpalo::collections::Vec;

use super::fields::{Field, Fields};
use super::number::{Bound, Number};
use super::symbols::{NONE, SymbolId};
use crate::Filter;
use crate::filter::ast::{CompareOp, Expr, Literal, Path, Segment, StringFunction, Term};

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Formula<'a> {
    Any,
    Never,
    And(&'a [Formula<'a>]),
    Or(&'a [Formula<'a>]),
    Test(Test<'a>),
}

/// One condition on an event.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Test<'a> {
    Present(Field),
    /// Only for top-level fields: below, what leads to the field must be there.
    Absent(Field),
    /// The parent is an object without this child.
    Lacks {
        parent: Field,
        child: Field,
    },
    /// There, and equal to one of these; or, negated, there and equal to none.
    OneOf {
        field: Field,
        values: &'a [Value<'a>],
        negated: bool,
    },
    /// A number within the bounds, of which there is at least one.
    Range {
        field: Field,
        low: Option<&'a Bound>,
        high: Option<&'a Bound>,
    },
    /// A string before, at or after another in the order of bytes.
    Order {
        field: Field,
        op: CompareOp,
        text: &'a Arc<str>,
    },
    Text {
        field: Field,
        function: StringFunction,
        pattern: &'a Arc<str>,
        negated: bool,
    },
    /// A list with an element equal to this, or an object with a key like this; or, negated, a list or object without.
    Holds {
        field: Field,
        value: Scalar<'a>,
        negated: bool,
    },
    /// Anything else, evaluated as it was written.
    Opaque {
        expr: &'a Expr,
        negated: bool,
    },
}

/// What a field can be equal to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a Arc<str>),
}

impl<'a> Scalar<'a> {
    fn of(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::String(text) => Self::Text(text),
            Literal::Int(_) | Literal::Uint(_) | Literal::Double(_) => number(literal).map_or(Self::Null, Self::Number),
        }
    }
}

/// A scalar that a field is compared with, and what stands for it there.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    pub(super) scalar: Scalar<'a>,
    /// Its symbol, once it was looked for and found.
    pub(super) symbol: Cell<SymbolId>,
}

impl<'a> Value<'a> {
    pub(super) fn of(scalar: Scalar<'a>) -> Self {
        Self { scalar, symbol: Cell::new(NONE) }
    }
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.scalar == other.scalar
    }
}

impl Eq for Value<'_> {}

impl Hash for Value<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scalar.hash(state);
    }
}

fn number(literal: &Literal) -> Option<Number> {
    match *literal {
        Literal::Int(value) => Some(Number::integer(value.into())),
        Literal::Uint(value) => Some(Number::integer(value.into())),
        Literal::Double(value) => Some(Number::double(value)),
        Literal::Null | Literal::Bool(_) | Literal::String(_) => None,
    }
}

static EVENT_TYPE: LazyLock<Path> = LazyLock::new(|| top_level("event_type"));
static USER_TIER: LazyLock<Path> = LazyLock::new(|| top_level("user_tier"));
static AMOUNT: LazyLock<Path> = LazyLock::new(|| top_level("amount"));

fn top_level(name: &str) -> Path {
    Path([Segment::Key(name.into())].into())
}

/// Where formulas are made.
pub(super) struct Maker<'a, 'f> {
    pub(super) arena: &'a Bump,
    pub(super) fields: &'f mut Fields,
}

impl<'a> Maker<'a, '_> {
    /// When a filter matches. Its condition as a tree is made, and kept by the caller, only if there is no way without.
    pub(super) fn whole(&mut self, filter: &'a Filter, condition: &'a OnceCell<Expr>) -> Formula<'a> {
        self.filter(filter).unwrap_or_else(|| self.expr(condition.get_or_init(|| filter.condition()), true))
    }

    /// As [`Filter::condition`], without a tree in between. None if a typed field must stay as it was written.
    fn filter(&mut self, filter: &'a Filter) -> Option<Formula<'a>> {
        let mut parts = Vec::with_capacity_in(4, self.arena);
        for (path, values) in [(&*EVENT_TYPE, &filter.event_types), (&*USER_TIER, &filter.user_tiers)] {
            if !values.is_empty() {
                parts.push(self.one_of(path, values.iter().map(Scalar::Text), true)?);
            }
        }
        if let Some(least) = &filter.min_amount {
            parts.push(self.compare(&AMOUNT, CompareOp::Ge, least, true)?);
        }
        parts.extend(filter.where_.as_ref().map(|expr| self.expr(expr, true)));
        Some(Formula::and(parts, self.arena))
    }

    /// When `expr` is true; or, if `wanted` is not, when it is false.
    pub(super) fn expr(&mut self, expr: &'a Expr, wanted: bool) -> Formula<'a> {
        match expr {
            Expr::And(operands) | Expr::Or(operands) => {
                let arena = self.arena;
                let operands = operands.iter().map(|operand| self.expr(operand, wanted));
                if matches!(expr, Expr::And(_)) == wanted {
                    Formula::and(operands, arena)
                } else {
                    Formula::or(operands, arena)
                }
            }
            Expr::Not(inner) => self.expr(inner, !wanted),
            _ => self.test(expr, wanted).unwrap_or(Formula::Test(Test::Opaque { expr, negated: !wanted })),
        }
    }

    /// The test of one literal, or none if it must stay as it was written.
    fn test(&mut self, expr: &'a Expr, wanted: bool) -> Option<Formula<'a>> {
        match expr {
            Expr::Compare { op, left: Term::Field(path), right: Term::Literal(literal) } => {
                self.compare(path, *op, literal, wanted)
            }
            Expr::Compare { op, left: Term::Literal(literal), right: Term::Field(path) } => {
                self.compare(path, turned(*op), literal, wanted)
            }
            Expr::In { item: Term::Field(path), list: Term::List(items) } => {
                let literals = items.iter().map_while(scalar);
                if literals.clone().count() < items.len() {
                    return None;
                }
                self.one_of(path, literals, wanted)
            }
            Expr::In { item: Term::Literal(literal), list: Term::Field(path) } => {
                let field = self.fields.of(path)?;
                Some(Formula::Test(Test::Holds { field, value: Scalar::of(literal), negated: !wanted }))
            }
            Expr::Call { function, target: Term::Field(path), arg: Term::Literal(Literal::String(pattern)) } => {
                let field = self.fields.of(path)?;
                Some(Formula::Test(Test::Text { field, function: *function, pattern, negated: !wanted }))
            }
            Expr::Has(path) => self.has(path, wanted),
            Expr::Bare(Term::Field(path)) => self.one_of(path, [Scalar::Bool(wanted)].into_iter(), true),
            Expr::Bare(Term::Literal(literal)) => {
                Some(if *literal == Literal::Bool(wanted) { Formula::Any } else { Formula::Never })
            }
            _ => None,
        }
    }

    fn one_of(&mut self, path: &Path, values: impl Iterator<Item = Scalar<'a>>, wanted: bool) -> Option<Formula<'a>> {
        let field = self.fields.of(path)?;
        let values = sorted(values.map(Value::of), self.arena);
        Some(match (values.is_empty(), wanted) {
            (true, true) => Formula::Never,
            (true, false) => Formula::Test(Test::Present(field)),
            (false, _) => Formula::Test(Test::OneOf { field, values, negated: !wanted }),
        })
    }

    fn has(&mut self, path: &Path, wanted: bool) -> Option<Formula<'a>> {
        let (last, parents) = path.0.split_last()?;
        if matches!(last, Segment::Index(_)) {
            return None;
        }
        let child = self.fields.of(path)?;
        Some(Formula::Test(match (wanted, parents.is_empty()) {
            (true, _) => Test::Present(child),
            (false, true) => Test::Absent(child),
            (false, false) => Test::Lacks { parent: self.fields.of(&Path(parents.into()))?, child },
        }))
    }

    fn compare(&mut self, path: &Path, op: CompareOp, literal: &'a Literal, wanted: bool) -> Option<Formula<'a>> {
        if let CompareOp::Eq | CompareOp::Ne = op {
            return self.one_of(path, [Scalar::of(literal)].into_iter(), (op == CompareOp::Eq) == wanted);
        }
        let op = if wanted { op } else { opposite(op) };
        if let Literal::String(text) = literal {
            return Some(Formula::Test(Test::Order { field: self.fields.of(path)?, op, text }));
        }
        let at = number(literal)?;
        let arena = self.arena;
        let bound = |inclusive| Some(&*arena.alloc(Bound { at, inclusive }));
        let (low, high) = match op {
            CompareOp::Lt => (None, bound(false)),
            CompareOp::Le => (None, bound(true)),
            CompareOp::Gt => (bound(false), None),
            CompareOp::Ge => (bound(true), None),
            CompareOp::Eq | CompareOp::Ne => return None,
        };
        Some(Formula::Test(Test::Range { field: self.fields.of(path)?, low, high }))
    }
}

impl<'a> Formula<'a> {
    /// All of these, flattened; ranges of one field are joined.
    pub(super) fn and(operands: impl IntoIterator<Item = Self>, arena: &'a Bump) -> Self {
        let operands = operands.into_iter();
        let mut joined = Vec::with_capacity_in(operands.size_hint().0, arena);
        for operand in operands {
            match operand {
                Self::Any => {}
                Self::Never => return Self::Never,
                Self::And(inner) => inner.iter().for_each(|part| push(&mut joined, *part)),
                other => push(&mut joined, other),
            }
        }
        match joined[..] {
            [] => Self::Any,
            [one] => one,
            _ => Self::And(joined.into_bump_slice()),
        }
    }

    /// Any of these, flattened; equalities of one field are joined.
    pub(super) fn or(operands: impl IntoIterator<Item = Self>, arena: &'a Bump) -> Self {
        let operands = operands.into_iter();
        let mut joined =
            Joined { parts: Vec::with_capacity_in(operands.size_hint().0, arena), lists: Vec::new_in(arena) };
        for operand in operands {
            match operand {
                Self::Never => {}
                Self::Any => return Self::Any,
                Self::Or(inner) => inner.iter().for_each(|part| joined.add(*part)),
                other => joined.add(other),
            }
        }
        let parts = joined.parts();
        match parts[..] {
            [] => Self::Never,
            [one] => one,
            _ => Self::Or(parts.into_bump_slice()),
        }
    }

    /// The parts that must all hold.
    pub(super) fn conjuncts(self, arena: &'a Bump) -> &'a [Self] {
        match self {
            Self::And(parts) => parts,
            Self::Any => &[],
            other => std::slice::from_ref(arena.alloc(other)),
        }
    }
}

/// Adds a part of a conjunction, unless an earlier one is the same or takes it in.
fn push<'a>(joined: &mut Vec<'a, Formula<'a>>, part: Formula<'a>) {
    if !joined.iter_mut().any(|earlier| *earlier == part || join_ranges(earlier, &part)) {
        joined.push(part);
    }
}

/// The parts of a disjunction on their way. What is equal to a field is gathered first and sorted once, since an arena takes
/// nothing back before it is emptied.
struct Joined<'a> {
    parts: Vec<'a, Formula<'a>>,
    lists: Vec<'a, List<'a>>,
}

/// The part that has a field's first values, and the values of the later ones.
struct List<'a> {
    at: usize,
    field: Field,
    more: Vec<'a, Value<'a>>,
}

impl<'a> Joined<'a> {
    fn add(&mut self, part: Formula<'a>) {
        let Formula::Test(Test::OneOf { field, values, negated: false }) = part else {
            if !self.parts.contains(&part) {
                self.parts.push(part);
            }
            return;
        };
        match self.lists.iter_mut().find(|list| list.field == field) {
            Some(list) => list.more.extend(values.iter().cloned()),
            None => {
                let more = Vec::new_in(self.parts.bump());
                self.lists.push(List { at: self.parts.len(), field, more });
                self.parts.push(part);
            }
        }
    }

    fn parts(self) -> Vec<'a, Formula<'a>> {
        let Self { mut parts, lists } = self;
        let arena = parts.bump();
        for list in lists {
            if let Formula::Test(Test::OneOf { values, .. }) = &mut parts[list.at]
                && !list.more.is_empty()
            {
                *values = sorted(values.iter().cloned().chain(list.more), arena);
            }
        }
        parts
    }
}

/// Each of these once, in order.
fn sorted<'a>(values: impl Iterator<Item = Value<'a>>, arena: &'a Bump) -> &'a [Value<'a>] {
    let mut all = Vec::from_iter_in(values, arena);
    all.sort_unstable_by(|a, b| a.scalar.cmp(&b.scalar));
    all.dedup();
    all.into_bump_slice()
}

fn join_ranges<'a>(earlier: &mut Formula<'a>, later: &Formula<'a>) -> bool {
    let (
        Formula::Test(Test::Range { field, low, high }),
        Formula::Test(Test::Range { field: other, low: low_2, high: high_2 }),
    ) = (earlier, later)
    else {
        return false;
    };
    if field != other {
        return false;
    }
    *low = tighter(*low, *low_2, |a, b| a.at > b.at);
    *high = tighter(*high, *high_2, |a, b| a.at < b.at);
    true
}

fn tighter<'a>(a: Option<&'a Bound>, b: Option<&'a Bound>, beats: fn(&Bound, &Bound) -> bool) -> Option<&'a Bound> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    let is_a = if a.at == b.at { !a.inclusive } else { beats(a, b) };
    Some(if is_a { a } else { b })
}

fn scalar(term: &Term) -> Option<Scalar<'_>> {
    match term {
        Term::Literal(literal) => Some(Scalar::of(literal)),
        Term::Field(_) | Term::List(_) => None,
    }
}

/// The comparison with its sides exchanged.
fn turned(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Eq | CompareOp::Ne => op,
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
    }
}

/// The comparison that is true where this one is false; both need values that have an order.
fn opposite(op: CompareOp) -> CompareOp {
    match op {
        CompareOp::Eq => CompareOp::Ne,
        CompareOp::Ne => CompareOp::Eq,
        CompareOp::Lt => CompareOp::Ge,
        CompareOp::Le => CompareOp::Gt,
        CompareOp::Gt => CompareOp::Le,
        CompareOp::Ge => CompareOp::Lt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_disjunction_takes_memory_by_its_length() {
        let bytes = |operands: usize| {
            let operands: std::vec::Vec<String> = (0..operands).map(|n| format!("a == {n}")).collect();
            let filter = Filter::new(vec![], vec![], None, Some(&operands.join(" || "))).unwrap();
            let arena = Bump::new();
            let mut fields = Fields::default();
            let formula = Maker { arena: &arena, fields: &mut fields }.expr(filter.where_.as_ref().unwrap(), true);
            let Formula::Test(Test::OneOf { values, .. }) = formula else { panic!("{formula:?}") };
            assert_eq!(values.len(), operands.len());
            arena.allocated_bytes()
        };
        assert!(bytes(120) < 16 * bytes(15), "{} for 120, {} for 15", bytes(120), bytes(15));
    }
}
