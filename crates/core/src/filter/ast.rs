//! The syntax tree of a `where` expression.

use std::sync::Arc;

/// An expression that is true, false or an error for an event. Only "true" is a match.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// At least two; CEL's `||`: true if any is true, else an error if any is one.
    Or(Vec<Expr>),
    /// At least two; CEL's `&&`: false if any is false, else an error if any is one.
    And(Vec<Expr>),
    Not(Box<Expr>),
    Compare {
        op: CompareOp,
        left: Term,
        right: Term,
    },
    /// `item in list`; the list is a literal list or a field that holds a list (or a map, whose keys are meant).
    In {
        item: Term,
        list: Term,
    },
    /// `target.startsWith(arg)` and its kin.
    Call {
        function: StringFunction,
        target: Term,
        arg: Term,
    },
    /// `has(a.b)`, and, as our extension, `has(a)`.
    Has(Path),
    /// A bare operand: true or false if it is a boolean, else an error.
    Bare(Term),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StringFunction {
    StartsWith,
    EndsWith,
    Contains,
    /// By a linear-time regex, anywhere in the text (RE2's partial match, as CEL says).
    Matches,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    Field(Path),
    Literal(Literal),
    /// `[1, "a", x]`: elements are literals or fields.
    List(Vec<Term>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    /// Written `5u`, or an integer past `i64`.
    Uint(u64),
    /// Never NaN: it cannot be written.
    Double(f64),
    /// Shared with the index, which is why filters are cheap to take in.
    String(Arc<str>),
}

/// `device.os`, `tags[0]`, `headers["x-id"]`: at least one segment, the first always a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(pub Box<[Segment]>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    Key(Box<str>),
    Index(u64),
}
