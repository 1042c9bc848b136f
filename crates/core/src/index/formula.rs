//! A filter in negation normal form: conjunctions and disjunctions of tests that are each true or not, never an error.
//!
//! In this form the three values of `where` expressions become two: a test, negated or not, is true only if its field
//! is there and, for orders and string functions, of the right type.

use std::sync::{Arc, LazyLock};

use super::fields::{Field, Fields};
use super::number::{Bound, Number};
use crate::Filter;
use crate::filter::ast::{CompareOp, Expr, Literal, Path, Segment, StringFunction, Term};

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Formula {
    Any,
    Never,
    And(Vec<Formula>),
    Or(Vec<Formula>),
    Test(Test),
}

/// One condition on an event.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Test {
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
        values: Arc<[Scalar]>,
        negated: bool,
    },
    /// A number within the bounds, of which there is at least one.
    Range {
        field: Field,
        low: Option<Bound>,
        high: Option<Bound>,
    },
    /// A string before, at or after another in the order of bytes.
    Order {
        field: Field,
        op: CompareOp,
        text: Arc<str>,
    },
    Text {
        field: Field,
        function: StringFunction,
        pattern: Arc<str>,
        negated: bool,
    },
    /// A list with an element equal to this, or an object with a key like this; or, negated, a list or object without.
    Holds {
        field: Field,
        value: Scalar,
        negated: bool,
    },
    /// Anything else, evaluated as it was written.
    Opaque {
        expr: Arc<Expr>,
        negated: bool,
    },
}

/// What a field can be equal to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Number(Number),
    Text(Arc<str>),
}

impl Scalar {
    fn of(literal: &Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::String(text) => Self::Text(Arc::clone(text)),
            Literal::Int(_) | Literal::Uint(_) | Literal::Double(_) => number(literal).map_or(Self::Null, Self::Number),
        }
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

impl Formula {
    /// When a filter matches: as [`Filter::condition`], without a tree in between. None if a typed field must stay as
    /// it was written.
    pub(super) fn of_filter(filter: &Filter, fields: &mut Fields) -> Option<Self> {
        let mut parts = Vec::with_capacity(4);
        for (path, values) in [(&EVENT_TYPE, &filter.event_types), (&USER_TIER, &filter.user_tiers)] {
            if !values.is_empty() {
                let values = values.iter().map(|value| Scalar::Text(Arc::clone(value))).collect();
                parts.push(one_of(path, values, true, fields)?);
            }
        }
        if let Some(least) = &filter.min_amount {
            parts.push(compare(&AMOUNT, CompareOp::Ge, least, true, fields)?);
        }
        parts.extend(filter.where_.as_ref().map(|expr| Self::of(expr, true, fields)));
        Some(Self::and(parts))
    }

    /// When `expr` is true; or, if `wanted` is not, when it is false.
    pub(super) fn of(expr: &Expr, wanted: bool, fields: &mut Fields) -> Self {
        match expr {
            Expr::And(operands) | Expr::Or(operands) => {
                let operands = operands.iter().map(|operand| Self::of(operand, wanted, fields)).collect();
                if matches!(expr, Expr::And(_)) == wanted { Self::and(operands) } else { Self::or(operands) }
            }
            Expr::Not(inner) => Self::of(inner, !wanted, fields),
            _ => test(expr, wanted, fields)
                .unwrap_or_else(|| Self::Test(Test::Opaque { expr: Arc::new(expr.clone()), negated: !wanted })),
        }
    }

    /// All of these, flattened; ranges of one field are joined.
    pub(super) fn and(operands: Vec<Self>) -> Self {
        let mut joined = Vec::with_capacity(operands.len());
        for operand in operands {
            match operand {
                Self::Any => {}
                Self::Never => return Self::Never,
                Self::And(inner) => inner.into_iter().for_each(|part| push(&mut joined, part, join_ranges)),
                other => push(&mut joined, other, join_ranges),
            }
        }
        match joined.len() {
            0 => Self::Any,
            1 => joined.swap_remove(0),
            _ => Self::And(joined),
        }
    }

    /// Any of these, flattened; equalities of one field are joined.
    pub(super) fn or(operands: Vec<Self>) -> Self {
        let mut joined = Vec::with_capacity(operands.len());
        for operand in operands {
            match operand {
                Self::Never => {}
                Self::Any => return Self::Any,
                Self::Or(inner) => inner.into_iter().for_each(|part| push(&mut joined, part, join_equalities)),
                other => push(&mut joined, other, join_equalities),
            }
        }
        match joined.len() {
            0 => Self::Never,
            1 => joined.swap_remove(0),
            _ => Self::Or(joined),
        }
    }

    /// The parts that must all hold.
    pub(super) fn conjuncts(self) -> Vec<Self> {
        match self {
            Self::And(parts) => parts,
            Self::Any => Vec::new(),
            other => vec![other],
        }
    }
}

/// Adds a part, unless an earlier one is the same or takes it in.
fn push(joined: &mut Vec<Formula>, part: Formula, join: fn(&mut Formula, &Formula) -> bool) {
    if !joined.iter_mut().any(|earlier| *earlier == part || join(earlier, &part)) {
        joined.push(part);
    }
}

fn join_ranges(earlier: &mut Formula, later: &Formula) -> bool {
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

fn tighter(a: Option<Bound>, b: Option<Bound>, beats: fn(Bound, Bound) -> bool) -> Option<Bound> {
    let (Some(a), Some(b)) = (a, b) else { return a.or(b) };
    if a.at == b.at {
        return Some(Bound { at: a.at, inclusive: a.inclusive && b.inclusive });
    }
    Some(if beats(a, b) { a } else { b })
}

fn join_equalities(earlier: &mut Formula, later: &Formula) -> bool {
    let (
        Formula::Test(Test::OneOf { field, values, negated: false }),
        Formula::Test(Test::OneOf { field: other, values: more, negated: false }),
    ) = (earlier, later)
    else {
        return false;
    };
    if field != other {
        return false;
    }
    let mut joined: Vec<Scalar> = values.iter().chain(&**more).cloned().collect();
    joined.sort_unstable();
    joined.dedup();
    *values = joined.into();
    true
}

/// The test of one literal, or none if it must stay as it was written.
fn test(expr: &Expr, wanted: bool, fields: &mut Fields) -> Option<Formula> {
    match expr {
        Expr::Compare { op, left: Term::Field(path), right: Term::Literal(literal) } => {
            compare(path, *op, literal, wanted, fields)
        }
        Expr::Compare { op, left: Term::Literal(literal), right: Term::Field(path) } => {
            compare(path, turned(*op), literal, wanted, fields)
        }
        Expr::In { item: Term::Field(path), list: Term::List(items) } => {
            let literals: Option<Vec<Scalar>> = items.iter().map(scalar).collect();
            one_of(path, literals?, wanted, fields)
        }
        Expr::In { item: Term::Literal(literal), list: Term::Field(path) } => {
            let field = fields.of(path)?;
            Some(Formula::Test(Test::Holds { field, value: Scalar::of(literal), negated: !wanted }))
        }
        Expr::Call { function, target: Term::Field(path), arg: Term::Literal(Literal::String(pattern)) } => {
            let field = fields.of(path)?;
            Some(Formula::Test(Test::Text {
                field,
                function: *function,
                pattern: Arc::clone(pattern),
                negated: !wanted,
            }))
        }
        Expr::Has(path) => has(path, wanted, fields),
        Expr::Bare(Term::Field(path)) => one_of(path, vec![Scalar::Bool(wanted)], true, fields),
        Expr::Bare(Term::Literal(literal)) => {
            Some(if *literal == Literal::Bool(wanted) { Formula::Any } else { Formula::Never })
        }
        _ => None,
    }
}

fn scalar(term: &Term) -> Option<Scalar> {
    match term {
        Term::Literal(literal) => Some(Scalar::of(literal)),
        Term::Field(_) | Term::List(_) => None,
    }
}

fn one_of(path: &Path, mut values: Vec<Scalar>, wanted: bool, fields: &mut Fields) -> Option<Formula> {
    let field = fields.of(path)?;
    values.sort_unstable();
    values.dedup();
    Some(match (values.is_empty(), wanted) {
        (true, true) => Formula::Never,
        (true, false) => Formula::Test(Test::Present(field)),
        (false, _) => Formula::Test(Test::OneOf { field, values: values.into(), negated: !wanted }),
    })
}

fn has(path: &Path, wanted: bool, fields: &mut Fields) -> Option<Formula> {
    let (last, parents) = path.0.split_last()?;
    if matches!(last, Segment::Index(_)) {
        return None;
    }
    let child = fields.of(path)?;
    Some(Formula::Test(match (wanted, parents.is_empty()) {
        (true, _) => Test::Present(child),
        (false, true) => Test::Absent(child),
        (false, false) => Test::Lacks { parent: fields.of(&Path(parents.into()))?, child },
    }))
}

fn compare(path: &Path, op: CompareOp, literal: &Literal, wanted: bool, fields: &mut Fields) -> Option<Formula> {
    if let CompareOp::Eq | CompareOp::Ne = op {
        return one_of(path, vec![Scalar::of(literal)], (op == CompareOp::Eq) == wanted, fields);
    }
    let op = if wanted { op } else { opposite(op) };
    if let Literal::String(text) = literal {
        return Some(Formula::Test(Test::Order { field: fields.of(path)?, op, text: Arc::clone(text) }));
    }
    let at = number(literal)?;
    let bound = |inclusive| Some(Bound { at, inclusive });
    let (low, high) = match op {
        CompareOp::Lt => (None, bound(false)),
        CompareOp::Le => (None, bound(true)),
        CompareOp::Gt => (bound(false), None),
        CompareOp::Ge => (bound(true), None),
        CompareOp::Eq | CompareOp::Ne => return None,
    };
    Some(Formula::Test(Test::Range { field: fields.of(path)?, low, high }))
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
