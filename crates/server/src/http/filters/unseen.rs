//! Fields that a filter asks for and none of the events has: mostly a slip of the pen, which is no mistake of syntax.

use std::collections::BTreeSet;

use evs_core::filter::ast::{Expr, Path, Term};
use evs_core::filter::eval;
use serde_json::Value;

/// What no event had so far.
#[derive(Debug)]
pub(super) struct Unseen(Vec<(Path, Expr)>);

impl Unseen {
    pub(super) fn new(condition: &Expr) -> Self {
        let mut paths = BTreeSet::new();
        gather(condition, &mut paths);
        Self(paths.into_iter().map(|path| (path.clone(), Expr::Has(path.clone()))).collect())
    }

    pub(super) fn look(&mut self, event: &Value) {
        self.0.retain(|(_, has)| !eval(has, event).is_true());
    }

    /// A sentence, if there is one to say.
    pub(super) fn warning(&self) -> Option<String> {
        let names: Vec<String> = self.0.iter().map(|(path, _)| format!("`{path}`")).collect();
        (!names.is_empty()).then(|| format!("no event of these has {}", names.join(", ")))
    }
}

fn gather<'a>(expr: &'a Expr, paths: &mut BTreeSet<&'a Path>) {
    match expr {
        Expr::Or(all) | Expr::And(all) => all.iter().for_each(|one| gather(one, paths)),
        Expr::Not(inner) => gather(inner, paths),
        Expr::Compare { left, right, op: _ } => [left, right].into_iter().for_each(|term| of_term(term, paths)),
        Expr::In { item, list } => [item, list].into_iter().for_each(|term| of_term(term, paths)),
        Expr::Call { target, arg, function: _ } => [target, arg].into_iter().for_each(|term| of_term(term, paths)),
        Expr::Bare(term) => of_term(term, paths),
        // Whoever asks whether it is there knows that it may not be.
        Expr::Has(_) => {}
    }
}

fn of_term<'a>(term: &'a Term, paths: &mut BTreeSet<&'a Path>) {
    match term {
        Term::Field(path) => drop(paths.insert(path)),
        Term::Literal(_) => {}
        Term::List(items) => items.iter().for_each(|item| of_term(item, paths)),
    }
}
