//! Which events a subscriber wants.
//!
//! In reading order: [`ast`] is the tree of a `where` expression, [`parse_where`] reads it from text and its `Display`
//! writes it back, [`eval`](fn@eval) says what it is for an event, [`Filter`] joins it with the typed fields.

#[cfg(any(test, feature = "arbitrary"))]
pub mod arbitrary;
pub mod ast;
mod error;
mod eval;
mod explain;
mod hints;
mod lexer;
mod never;
pub mod number;
mod parse_error;
mod parser;
pub mod pattern;
mod print;

use std::sync::Arc;

use serde_json::Value;

use ast::{CompareOp, Expr, Literal, Path, Segment, Term};

use crate::Event;
pub use error::FilterError;
pub use eval::{EvalError, Outcome, eval};
pub use explain::{Clause, Explanation, Seen};
pub use number::Number;
pub use parse_error::ParseError;
pub use parser::parse_where;

/// The typed fields and the `where` expression; all must hold, absent or empty means any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub event_types: Vec<Arc<str>>,
    pub user_tiers: Vec<Arc<str>>,
    pub min_amount: Option<Literal>,
    pub where_: Option<Expr>,
}

impl Filter {
    /// Checks the fields of a filter as they come from outside.
    ///
    /// # Errors
    ///
    /// Names the field that is refused and why.
    pub fn new(
        event_types: Vec<Arc<str>>,
        user_tiers: Vec<Arc<str>>,
        min_amount: Option<Literal>,
        where_text: Option<&str>,
    ) -> Result<Self, FilterError> {
        error::check_values("event_types", &event_types)?;
        error::check_values("user_tiers", &user_tiers)?;
        error::check_min_amount(min_amount.as_ref())?;
        let where_ = where_text.map(parse_where).transpose()?;
        Ok(Self { event_types, user_tiers, min_amount, where_ })
    }

    /// The filter as one expression; one that asks for nothing is `true`.
    #[must_use]
    pub fn condition(&self) -> Expr {
        let mut operands: Vec<Expr> = self.typed().map(|(_, expr)| expr).collect();
        match &self.where_ {
            Some(Expr::And(inner)) => operands.extend(inner.iter().cloned()),
            Some(other) => operands.push(other.clone()),
            None => {}
        }
        match operands.len() {
            0 => Expr::Bare(Term::Literal(Literal::Bool(true))),
            1 => operands.remove(0),
            _ => Expr::And(operands),
        }
    }

    /// Whether the subscriber wants the event. This is the oracle: right by being obvious, not fast.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.matches_value(&event.value())
    }

    /// [`Filter::matches`] for an event that is a tree already.
    #[must_use]
    pub fn matches_value(&self, event: &Value) -> bool {
        eval(&self.condition(), event).is_true()
    }

    /// The typed fields that ask for something, each as an expression, in the order of the condition.
    fn typed(&self) -> impl Iterator<Item = (&'static str, Expr)> {
        let one_of = |field: &str, values: &[Arc<str>]| {
            let list = values.iter().map(|value| Term::Literal(Literal::String(value.clone()))).collect();
            (!values.is_empty()).then(|| Expr::In { item: top_level(field), list: Term::List(list) })
        };
        let at_least = |min: &Literal| Expr::Compare {
            op: CompareOp::Ge,
            left: top_level("amount"),
            right: Term::Literal(min.clone()),
        };
        [
            ("event_types", one_of("event_type", &self.event_types)),
            ("user_tiers", one_of("user_tier", &self.user_tiers)),
            ("min_amount", self.min_amount.as_ref().map(at_least)),
        ]
        .into_iter()
        .filter_map(|(field, expr)| Some((field, expr?)))
    }
}

fn top_level(field: &str) -> Term {
    Term::Field(Path([Segment::Key(field.into())].into()))
}

#[cfg(test)]
mod tests;
