//! Why a filter did or did not match an event, clause by clause.

use serde_json::Value;

use super::ast::{Expr, Path, Term};
use super::{Filter, Outcome, eval};
use crate::Event;

/// Characters of a value that are shown: enough to recognise it, short enough for a table.
const SHOWN_CHARS_MAX: usize = 80;

/// The verdict on one event; it matches exactly if every clause is true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub matches: bool,
    pub clauses: Vec<Clause>,
}

/// A typed field, or one of the conditions that `where` joins by `&&`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The filter's field that asks for it: `event_types`, `user_tiers`, `min_amount` or `where`.
    pub field: &'static str,
    /// The canonical text of the condition.
    pub text: String,
    pub outcome: Outcome,
    /// The event's fields that the condition names, each once, in the order of the text.
    pub seen: Vec<Seen>,
}

/// What an event holds at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    /// JSON, cut off if long; None if the event has no such field.
    pub value: Option<String>,
}

impl Explanation {
    /// The clauses that kept the event from matching.
    pub fn failing(&self) -> impl Iterator<Item = &Clause> {
        self.clauses.iter().filter(|clause| !clause.outcome.is_true())
    }
}

impl Filter {
    /// The verdict on an event with its reasons; a filter that asks for nothing has no clauses and matches.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Explanation {
        self.explain_value(&event.value())
    }

    /// [`Filter::explain`] for an event that is a tree already.
    #[must_use]
    pub fn explain_value(&self, event: &Value) -> Explanation {
        let typed = self.typed().map(|(field, expr)| clause(field, &expr, event));
        let conjuncts = match &self.where_ {
            Some(Expr::And(operands)) => &operands[..],
            Some(single) => std::slice::from_ref(single),
            None => &[],
        };
        let clauses: Vec<_> = typed.chain(conjuncts.iter().map(|expr| clause("where", expr, event))).collect();
        Explanation { matches: clauses.iter().all(|clause| clause.outcome.is_true()), clauses }
    }
}

fn clause(field: &'static str, expr: &Expr, event: &Value) -> Clause {
    let mut paths = Vec::new();
    expr.for_each_path(&mut |path| {
        if !paths.contains(&path) {
            paths.push(path);
        }
    });
    let seen = paths.into_iter().map(|path| seen(path, event)).collect();
    Clause { field, text: expr.to_string(), outcome: eval(expr, event), seen }
}

fn seen(path: &Path, event: &Value) -> Seen {
    let value = super::eval::lookup(path, event).ok().map(|value| shorten(&value.to_string()));
    Seen { path: path.to_string(), value }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl Expr {
    /// Calls back for each field that the expression names, in the order of its text, as often as it is named.
    pub fn for_each_path<'a>(&'a self, visit: &mut impl FnMut(&'a Path)) {
        match self {
            Self::Or(operands) | Self::And(operands) => operands.iter().for_each(|e| e.for_each_path(visit)),
            Self::Not(inner) => inner.for_each_path(visit),
            Self::Compare { left: a, right: b, .. }
            | Self::In { item: a, list: b }
            | Self::Call { target: a, arg: b, .. } => {
                a.for_each_path(visit);
                b.for_each_path(visit);
            }
            Self::Has(path) => visit(path),
            Self::Bare(term) => term.for_each_path(visit),
        }
    }
}

impl Term {
    fn for_each_path<'a>(&'a self, visit: &mut impl FnMut(&'a Path)) {
        match self {
            Self::Field(path) => visit(path),
            Self::Literal(_) => {}
            Self::List(items) => items.iter().for_each(|item| item.for_each_path(visit)),
        }
    }
}
