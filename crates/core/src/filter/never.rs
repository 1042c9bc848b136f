//! Filters that no event can match: a hint for whoever creates one, never a refusal.
//!
//! The search is conservative: what it reports is certain, and much that cannot match goes unreported. It takes the
//! conditions that must all hold and looks at those that name a single field: what one field must be is small enough
//! to decide.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::ast::{CompareOp, Expr, Literal, Path, Segment, StringFunction, Term};
use super::number::Number;
use super::{Filter, eval};

/// Alternatives inside alternatives that are looked into; one level covers what people write.
const OR_DEPTH_MAX: usize = 4;

/// Conditions that are looked at or tried before giving up: a hint must not make creating a filter dear.
const STEPS_MAX: usize = 50_000;

/// A path with an index past this is left alone: deciding it needs a list of that length.
const INDEX_MAX: u64 = 16;

impl Filter {
    /// Why no event can match, if that is certain.
    #[must_use]
    pub fn never_matches(&self) -> Option<String> {
        let condition = self.condition();
        let mut parts = Vec::new();
        conjuncts(&condition, false, &mut parts);
        Search { steps_left: STEPS_MAX }.contradiction(&parts, OR_DEPTH_MAX)
    }
}

/// A condition, or its opposite; one that must hold for the filter to match.
#[derive(Clone, Copy)]
struct Conjunct<'f> {
    expr: &'f Expr,
    negated: bool,
}

impl<'f> Conjunct<'f> {
    fn holds(self, event: &Value) -> bool {
        eval(self.expr, event) == (!self.negated).into()
    }

    /// It names no field and does not hold.
    fn is_never(self) -> bool {
        let mut constant = true;
        self.expr.for_each_path(&mut |_| constant = false);
        constant && !self.holds(&Value::Null)
    }

    /// The operands of which one must hold.
    fn alternatives(self) -> Option<&'f [Expr]> {
        match (self.expr, self.negated) {
            (Expr::Or(operands), false) | (Expr::And(operands), true) => Some(operands),
            _ => None,
        }
    }

    fn text(self) -> String {
        if self.negated { Expr::Not(Box::new(self.expr.clone())).to_string() } else { self.expr.to_string() }
    }
}

/// The conditions that must all hold, with `!` pushed down where that makes more of them.
fn conjuncts<'f>(expr: &'f Expr, negated: bool, found: &mut Vec<Conjunct<'f>>) {
    match (expr, negated) {
        (Expr::Not(inner), _) => conjuncts(inner, !negated, found),
        (Expr::And(operands), false) | (Expr::Or(operands), true) => {
            operands.iter().for_each(|operand| conjuncts(operand, negated, found));
        }
        _ => found.push(Conjunct { expr, negated }),
    }
}

/// Running out of steps means that no contradiction was found, which is always a safe answer.
struct Search {
    steps_left: usize,
}

impl Search {
    fn spend(&mut self, steps: usize) -> Option<()> {
        self.steps_left = self.steps_left.checked_sub(steps)?;
        Some(())
    }

    fn contradiction(&mut self, parts: &[Conjunct<'_>], or_depth: usize) -> Option<String> {
        self.spend(parts.len())?;
        if let Some(part) = parts.iter().find(|part| part.is_never()) {
            return Some(format!("`{}` is never true", part.text()));
        }
        let mut by_path: Vec<(&Path, Conjunct<'_>)> =
            parts.iter().filter_map(|part| Some((single_path(part.expr)?, *part))).collect();
        by_path.sort_by_key(|(path, _)| *path);
        let of_fields = by_path.chunk_by(|a, b| a.0 == b.0).find_map(|chunk| {
            let path = chunk[0].0;
            let about: Vec<_> = chunk.iter().map(|(_, part)| *part).collect();
            self.absent_and_present(path, &about, parts)
                .or_else(|| self.no_candidate(path, &about))
                .or_else(|| no_type(path, &about))
                .or_else(|| empty_range(path, &about))
                .or_else(|| two_prefixes(path, &about))
        });
        of_fields.or_else(|| parts.iter().find_map(|part| self.no_alternative(*part, parts, or_depth)))
    }

    /// An `||` of which each operand contradicts itself or the conditions beside the `||`.
    fn no_alternative(&mut self, part: Conjunct<'_>, parts: &[Conjunct<'_>], or_depth: usize) -> Option<String> {
        let operands = part.alternatives().filter(|_| or_depth > 0)?;
        // Other alternatives are left out, or their combinations would have to be tried.
        let beside: Vec<_> = parts.iter().copied().filter(|part| part.alternatives().is_none()).collect();
        for operand in operands {
            let mut inner = beside.clone();
            conjuncts(operand, part.negated, &mut inner);
            self.contradiction(&inner, or_depth - 1)?;
        }
        Some(format!("no alternative of `{}` can be true together with the rest", part.text()))
    }

    /// `!has(x)` next to a condition that holds only if x is there.
    fn absent_and_present(&mut self, path: &Path, about: &[Conjunct<'_>], parts: &[Conjunct<'_>]) -> Option<String> {
        let absent = about.iter().find(|part| part.negated && matches!(part.expr, Expr::Has(_)))?;
        self.spend(parts.len())?;
        let needs = parts.iter().find(|part| {
            let mut needed = false;
            match part.expr {
                // An operand of these may hold without the others.
                Expr::Or(_) | Expr::And(_) | Expr::Not(_) => {}
                // Not even `!has(x.y)` holds without x, but `!has(x)` is the condition at hand.
                Expr::Has(other) => needed = other.0.starts_with(&path.0) && (other != path || !part.negated),
                other => other.for_each_path(&mut |other| needed |= other.0.starts_with(&path.0)),
            }
            needed
        })?;
        Some(format!("`{}` needs `{path}` to be there, and `{}` needs it not to be", needs.text(), absent.text()))
    }

    /// If the field must equal one of a few values, each can be tried.
    fn no_candidate(&mut self, path: &Path, about: &[Conjunct<'_>]) -> Option<String> {
        let (source, candidates) = about.iter().enumerate().find_map(|(i, part)| Some((i, candidates(*part)?)))?;
        for candidate in &candidates {
            self.spend(about.len())?;
            let event = event_with(&path.0, json(candidate)?)?;
            if about.iter().all(|part| part.holds(&event)) {
                return None;
            }
        }
        let others = about.iter().enumerate().filter(|(i, _)| *i != source).map(|(_, part)| part.text());
        let others: Vec<_> = others.collect();
        let source = about[source].text();
        Some(match others.is_empty() {
            true => format!("`{source}` is never true"),
            false => format!("no value of `{path}` fulfils both `{source}` and `{}`", others.join(" && ")),
        })
    }
}

/// All values that a condition lets its field have, if they are few. Values that compare as equal count as one: no
/// condition can tell them apart.
fn candidates<'f>(part: Conjunct<'f>) -> Option<Vec<&'f Literal>> {
    const TRUE: &Literal = &Literal::Bool(true);
    const FALSE: &Literal = &Literal::Bool(false);
    match (part.expr, part.negated) {
        (Expr::Compare { op: CompareOp::Eq, left, right }, false)
        | (Expr::Compare { op: CompareOp::Ne, left, right }, true) => match (left, right) {
            (Term::Field(_), Term::Literal(literal)) | (Term::Literal(literal), Term::Field(_)) => Some(vec![literal]),
            _ => None,
        },
        (Expr::In { item: Term::Field(_), list: Term::List(items) }, false) => {
            items.iter().map(|item| if let Term::Literal(literal) = item { Some(literal) } else { None }).collect()
        }
        (Expr::Bare(Term::Field(_)), negated) => Some(vec![if negated { FALSE } else { TRUE }]),
        _ => None,
    }
}

/// What an order or a string function asks its field to be.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Type {
    Bool,
    Number,
    String,
    /// No value at all has an order with null or a list.
    None,
}

fn no_type(path: &Path, about: &[Conjunct<'_>]) -> Option<String> {
    let typed: Vec<_> = about.iter().filter_map(|part| Some((part, required_type(part.expr)?))).collect();
    let (first, wanted) = typed.first()?;
    if let Some((part, _)) = typed.iter().find(|(_, wanted)| *wanted == Type::None) {
        return Some(format!("`{}` is never true: the two sides have no order", part.text()));
    }
    let (other, _) = typed.iter().find(|(_, other)| other != wanted)?;
    Some(format!("`{}` and `{}` need `{path}` to be of different types", first.text(), other.text()))
}

fn required_type(expr: &Expr) -> Option<Type> {
    match expr {
        Expr::Call { target: Term::Field(_), .. } | Expr::Call { arg: Term::Field(_), .. } => Some(Type::String),
        Expr::Compare { op: CompareOp::Eq | CompareOp::Ne, .. } => None,
        Expr::Compare { left: Term::Field(_), right: other, .. }
        | Expr::Compare { left: other, right: Term::Field(_), .. } => match other {
            Term::Field(_) => None,
            Term::List(_) | Term::Literal(Literal::Null) => Some(Type::None),
            Term::Literal(Literal::Bool(_)) => Some(Type::Bool),
            Term::Literal(Literal::String(_)) => Some(Type::String),
            Term::Literal(Literal::Int(_) | Literal::Uint(_) | Literal::Double(_)) => Some(Type::Number),
        },
        _ => None,
    }
}

/// `x > 10 && x < 5`: the highest lower bound is above the lowest upper bound.
fn empty_range(path: &Path, about: &[Conjunct<'_>]) -> Option<String> {
    let bounds: Vec<Bound<'_>> = about.iter().filter_map(|part| bound(*part)).collect();
    for lower in bounds.iter().filter(|bound| bound.lower) {
        for upper in bounds.iter().filter(|bound| !bound.lower) {
            let empty = match order(lower.at, upper.at)? {
                Ordering::Less => false,
                Ordering::Equal => lower.open || upper.open,
                Ordering::Greater => true,
            };
            if empty {
                return Some(format!("no `{path}` is both `{}` and `{}`", lower.part.text(), upper.part.text()));
            }
        }
    }
    None
}

struct Bound<'f> {
    part: Conjunct<'f>,
    at: &'f Literal,
    lower: bool,
    /// The bound itself is outside.
    open: bool,
}

fn bound(part: Conjunct<'_>) -> Option<Bound<'_>> {
    let Expr::Compare { op, left, right } = part.expr else { return None };
    let (at, swapped) = match (left, right) {
        (Term::Field(_), Term::Literal(literal)) => (literal, false),
        (Term::Literal(literal), Term::Field(_)) => (literal, true),
        _ => return None,
    };
    let (lower, open) = match op {
        CompareOp::Eq | CompareOp::Ne => return None,
        CompareOp::Lt => (false, true),
        CompareOp::Le => (false, false),
        CompareOp::Gt => (true, true),
        CompareOp::Ge => (true, false),
    };
    // A negated bound is the other side of the same place: !(x < 5) is x >= 5, since either way x must have an order.
    Some(Bound { part, at, lower: lower ^ swapped ^ part.negated, open: open ^ part.negated })
}

fn order(a: &Literal, b: &Literal) -> Option<Ordering> {
    match (a, b) {
        (Literal::String(a), Literal::String(b)) => Some(a.cmp(b)),
        (Literal::Bool(a), Literal::Bool(b)) => Some(a.cmp(b)),
        _ => Some(Number::from_literal(a)?.cmp(&Number::from_literal(b)?)),
    }
}

/// Two beginnings, or two endings, of which neither continues the other.
fn two_prefixes(path: &Path, about: &[Conjunct<'_>]) -> Option<String> {
    let fixed = |wanted: StringFunction| {
        about.iter().filter_map(move |part| match part.expr {
            Expr::Call { function, target: Term::Field(_), arg: Term::Literal(Literal::String(text)) }
                if *function == wanted && !part.negated =>
            {
                Some((part, &**text))
            }
            _ => None,
        })
    };
    for (function, continues) in [
        (StringFunction::StartsWith, (|long, short| str::starts_with(long, short)) as fn(&str, &str) -> bool),
        (StringFunction::EndsWith, |long, short| str::ends_with(long, short)),
    ] {
        let Some((longest, text)) = fixed(function).rev().max_by_key(|(_, text)| text.len()) else { continue };
        if let Some((other, _)) = fixed(function).find(|(_, other)| !continues(text, other)) {
            return Some(format!("no `{path}` is both `{}` and `{}`", longest.text(), other.text()));
        }
    }
    None
}

/// The path, if the condition names no other and compares it with nothing but literals.
fn single_path(expr: &Expr) -> Option<&Path> {
    let mut first = None;
    let mut single = true;
    expr.for_each_path(&mut |path| single &= *first.get_or_insert(path) == path);
    first.filter(|_| single)
}

/// An event that holds a value at a path and nothing else.
fn event_with(path: &[Segment], value: Value) -> Option<Value> {
    let Some((first, rest)) = path.split_first() else { return Some(value) };
    let inner = event_with(rest, value)?;
    match first {
        Segment::Key(key) => Some(Value::Object(Map::from_iter([(key.to_string(), inner)]))),
        Segment::Index(index) if *index <= INDEX_MAX => {
            let mut items = vec![Value::Null; usize::try_from(*index).ok()?];
            items.push(inner);
            Some(Value::Array(items))
        }
        Segment::Index(_) => None,
    }
}

fn json(literal: &Literal) -> Option<Value> {
    Some(match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => (*value).into(),
        Literal::Int(n) => (*n).into(),
        Literal::Uint(n) => (*n).into(),
        Literal::Double(n) => Value::Number(serde_json::Number::from_f64(*n)?),
        Literal::String(text) => (&**text).into(),
    })
}
