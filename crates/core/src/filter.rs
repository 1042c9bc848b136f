//! Which events a subscriber wants.

pub mod ast;

use ast::{Expr, Literal};

/// The typed fields and the `where` expression; all must hold, absent or empty means any.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    pub event_types: Vec<Box<str>>,
    pub user_tiers: Vec<Box<str>>,
    pub min_amount: Option<Literal>,
    pub where_: Option<Expr>,
}
