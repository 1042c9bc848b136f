//! What an expression is for an event: CEL's three values, computed the obvious way.
//!
//! This is the oracle that the match index is held to, so it prefers being plainly right to being fast.
//!
//! An absent field is an error, and so are an order or a string function across types; `==`, `!=` and `in` across types
//! are plain "unequal". `!` keeps an error, and `&&` and `||` absorb one if another operand decides. So with every `!`
//! pushed down to the comparisons (negation normal form), an expression is true exactly if it is true as plain
//! two-valued logic in which every literal, negated or not, holds only if its fields are there and, for orders and
//! string functions, of the right type: errors need no bookkeeping. `has` of a top-level field is the one literal that
//! never errs.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Value};

use super::ast::{CompareOp, Expr, Literal, Path, Segment, StringFunction, Term};
use super::number::Number;
use super::pattern;

/// CEL's three values. Only `True` is a match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    True,
    False,
    Error(EvalError),
}

impl Outcome {
    #[must_use]
    pub fn is_true(&self) -> bool {
        matches!(self, Self::True)
    }
}

impl From<bool> for Outcome {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

impl From<Result<bool, EvalError>> for Outcome {
    fn from(result: Result<bool, EvalError>) -> Self {
        result.map_or_else(Self::Error, Self::from)
    }
}

/// Why an expression is neither true nor false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvalError {
    /// The field, or the outermost part of its path that is missing.
    Absent(Path),
    /// The part of a path that should hold the next segment but is neither an object nor a list that could.
    NotAContainer { path: Path, found: &'static str },
    /// `<` and its kin need two numbers, two strings or two booleans.
    NoOrder { left: &'static str, right: &'static str },
    /// `startsWith` and its kin need strings.
    NotAString { function: StringFunction, found: &'static str },
    /// The right side of `in` must be a list or an object.
    NotAList { found: &'static str },
    /// A bare operand must be a boolean.
    NotABoolean { found: &'static str },
    /// A pattern that came from a field and does not compile.
    Pattern(String),
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(path) => write!(f, "the event has no `{path}`"),
            Self::NotAContainer { path, found } => write!(f, "`{path}` is {found}, so it has no such part"),
            Self::NoOrder { left, right } => write!(f, "{left} and {right} have no order"),
            Self::NotAString { function, found } => write!(f, "`{function}` needs strings, not {found}"),
            Self::NotAList { found } => write!(f, "`in` needs a list or an object, not {found}"),
            Self::NotABoolean { found } => write!(f, "a condition must be true or false, not {found}"),
            Self::Pattern(reason) => write!(f, "the pattern does not compile: {reason}"),
        }
    }
}

impl std::error::Error for EvalError {}

/// Evaluates an expression over an event.
#[must_use]
pub fn eval(expr: &Expr, event: &Value) -> Outcome {
    match expr {
        Expr::Or(operands) => any(operands, event, true),
        Expr::And(operands) => any(operands, event, false),
        Expr::Not(inner) => match eval(inner, event) {
            Outcome::True => Outcome::False,
            Outcome::False => Outcome::True,
            error => error,
        },
        Expr::Compare { op, left, right } => compare(*op, left, right, event).into(),
        Expr::In { item, list } => contains(item, list, event).into(),
        Expr::Call { function, target, arg } => call(*function, target, arg, event).into(),
        Expr::Has(path) => has(path, event).into(),
        Expr::Bare(term) => match operand(term, event) {
            Ok(Operand::Bool(value)) => value.into(),
            Ok(other) => Outcome::Error(EvalError::NotABoolean { found: other.kind() }),
            Err(error) => Outcome::Error(error),
        },
    }
}

/// `||` if the deciding value is true, `&&` if it is false: any operand with that value decides, whatever errs.
fn any(operands: &[Expr], event: &Value, decisive: bool) -> Outcome {
    let mut first_error = None;
    for operand in operands {
        match eval(operand, event) {
            Outcome::Error(error) => _ = first_error.get_or_insert(error),
            outcome if outcome.is_true() == decisive => return outcome,
            _ => {}
        }
    }
    first_error.map_or_else(|| (!decisive).into(), Outcome::Error)
}

fn compare(op: CompareOp, left: &Term, right: &Term, event: &Value) -> Result<bool, EvalError> {
    let (left, right) = (operand(left, event)?, operand(right, event)?);
    let holds: fn(Ordering) -> bool = match op {
        CompareOp::Eq => return Ok(left.equals(&right)),
        CompareOp::Ne => return Ok(!left.equals(&right)),
        CompareOp::Lt => Ordering::is_lt,
        CompareOp::Le => Ordering::is_le,
        CompareOp::Gt => Ordering::is_gt,
        CompareOp::Ge => Ordering::is_ge,
    };
    match left.order(&right) {
        Some(order) => Ok(holds(order)),
        None => Err(EvalError::NoOrder { left: left.kind(), right: right.kind() }),
    }
}

/// The whole list is read before anything is compared, so an absent element is an error even next to an equal one.
fn contains(item: &Term, list: &Term, event: &Value) -> Result<bool, EvalError> {
    let (item, list) = (operand(item, event)?, operand(list, event)?);
    match &list {
        Operand::List(items) => Ok(items.iter().any(|other| item.equals(other))),
        Operand::Map(map) => Ok(matches!(item, Operand::String(key) if map.contains_key(key))),
        other => Err(EvalError::NotAList { found: other.kind() }),
    }
}

fn call(function: StringFunction, target: &Term, arg: &Term, event: &Value) -> Result<bool, EvalError> {
    let (target, arg) = (operand(target, event)?, operand(arg, event)?);
    let (text, arg) = match (&target, &arg) {
        (Operand::String(text), Operand::String(arg)) => (*text, *arg),
        (Operand::String(_), other) | (other, _) => {
            return Err(EvalError::NotAString { function, found: other.kind() });
        }
    };
    match function {
        StringFunction::StartsWith => Ok(text.starts_with(arg)),
        StringFunction::EndsWith => Ok(text.ends_with(arg)),
        StringFunction::Contains => Ok(text.contains(arg)),
        StringFunction::Matches => pattern::is_match(arg, text).map_err(EvalError::Pattern),
    }
}

/// Whether the last segment is there; what leads to it must be, and must be able to hold it.
fn has(path: &Path, event: &Value) -> Result<bool, EvalError> {
    match lookup(path, event) {
        Ok(_) => Ok(true),
        Err(EvalError::Absent(missing)) if missing.0.len() == path.0.len() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The value at a path, or the first part of the path that is missing.
pub(super) fn lookup<'e>(path: &Path, event: &'e Value) -> Result<&'e Value, EvalError> {
    let mut value = event;
    for (depth, segment) in path.0.iter().enumerate() {
        let next = match (segment, value) {
            (Segment::Key(key), Value::Object(map)) => map.get(&**key),
            (Segment::Index(index), Value::Array(items)) => usize::try_from(*index).ok().and_then(|i| items.get(i)),
            (_, other) => {
                let path = Path(path.0[..depth].into());
                return Err(EvalError::NotAContainer { path, found: Operand::from_json(other).kind() });
            }
        };
        value = next.ok_or_else(|| EvalError::Absent(Path(path.0[..=depth].into())))?;
    }
    Ok(value)
}

/// A term's value, borrowed from the event or the expression.
enum Operand<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(&'a str),
    List(Vec<Operand<'a>>),
    Map(&'a Map<String, Value>),
}

fn operand<'a>(term: &'a Term, event: &'a Value) -> Result<Operand<'a>, EvalError> {
    match term {
        Term::Field(path) => lookup(path, event).map(Operand::from_json),
        Term::Literal(literal) => Ok(Operand::from_literal(literal)),
        Term::List(items) => items.iter().map(|item| operand(item, event)).collect::<Result<_, _>>().map(Operand::List),
    }
}

impl<'a> Operand<'a> {
    fn from_json(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::Number(Number::from_json(number)),
            Value::String(text) => Self::String(text),
            Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            Value::Object(map) => Self::Map(map),
        }
    }

    fn from_literal(literal: &'a Literal) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Bool(value) => Self::Bool(*value),
            Literal::String(text) => Self::String(text),
            Literal::Int(n) => Self::Number(Number::Int(*n)),
            Literal::Uint(n) => Self::Number(Number::Uint(*n)),
            Literal::Double(n) => Self::Number(Number::Double(*n)),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }

    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Number(a), Self::Number(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b)),
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(key, a)| {
                        b.get(key).is_some_and(|b| Operand::from_json(a).equals(&Operand::from_json(b)))
                    })
            }
            _ => false,
        }
    }

    /// Strings are ordered by code point, which for UTF-8 is the order of bytes; false comes before true.
    fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Number(a), Self::Number(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}
