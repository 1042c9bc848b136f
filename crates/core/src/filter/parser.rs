//! From the text of a `where` expression to its tree: recursive descent over CEL's grammar, as far as we take it.
//!
//! The tree is canonical: `&&` and `||` are flat (their operands are in no need of grouping), and `!!a` is `a`, which
//! is the same under CEL's three values.

mod operand;

use std::ops::Range;

use super::ast::{CompareOp, Expr, Literal, Term};
use super::hints;
use super::lexer::{self, Kind, Token};
use super::parse_error::ParseError;
use crate::limits::{WHERE_BYTES_MAX, WHERE_DEPTH_MAX, WHERE_NODES_MAX};

/// Reads a `where` expression.
///
/// # Errors
///
/// The first fault of the text, with its place and, for common mistakes, what to write instead.
pub fn parse_where(text: &str) -> Result<Expr, ParseError> {
    if text.len() > WHERE_BYTES_MAX {
        let message = format!("the expression has {} bytes, more than the {WHERE_BYTES_MAX} allowed", text.len());
        return Err(ParseError::new(text, 0..0, message, Some("split it over several filters".to_owned())));
    }
    let mut parser = Parser { text, tokens: lexer::tokens(text), at: 0, depth: 0, nodes: 0 };
    if parser.peek() == &Kind::End {
        let hint = "leave `where` out to take every event, or write true".to_owned();
        return Err(ParseError::new(text, 0..text.len(), "the expression is empty", Some(hint)));
    }
    let operand = parser.or()?;
    parser.expect_end()?;
    parser.condition(operand)
}

struct Parser<'t> {
    text: &'t str,
    /// Ends with `End` or `Invalid`, past which the parser never moves.
    tokens: Vec<Token<'t>>,
    at: usize,
    depth: usize,
    nodes: usize,
}

/// What stands left or right of an operator, before the operator says which it must be.
struct Operand {
    node: Node,
    span: Range<usize>,
}

enum Node {
    Term(Term),
    Expr(Expr),
}

impl<'t> Parser<'t> {
    fn peek(&self) -> &Kind<'t> {
        &self.tokens[self.at].kind
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].span.clone()
    }

    /// The end of the last token that was taken.
    fn end(&self) -> usize {
        self.at.checked_sub(1).map_or(0, |last| self.tokens[last].span.end)
    }

    fn advance(&mut self) {
        if !matches!(self.peek(), Kind::End | Kind::Invalid(_)) {
            self.at += 1;
        }
    }

    fn at_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Kind::Symbol(found) if *found == symbol)
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn error<T>(
        &self,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Result<T, ParseError> {
        let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        Err(ParseError::new(self.text, span, message, hint))
    }

    /// Counts an operator or an operand.
    fn node(&mut self, node: Node, span: Range<usize>) -> Result<Operand, ParseError> {
        self.nodes += 1;
        if self.nodes > WHERE_NODES_MAX {
            let message = format!("the expression has more than {WHERE_NODES_MAX} operators and operands");
            return self.error(span, message, "use `in [...]` for many values, or split it over several filters");
        }
        Ok(Operand { node, span })
    }

    /// Runs a part one level deeper.
    fn nested<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == WHERE_DEPTH_MAX {
            let message = format!("the expression nests deeper than {WHERE_DEPTH_MAX} levels");
            return self.error(self.span(), message, "leave out parentheses that do not matter");
        }
        self.depth += 1;
        let result = part(self);
        self.depth -= 1;
        result
    }

    fn or(&mut self) -> Result<Operand, ParseError> {
        self.joined("||", Self::and, |expr| match expr {
            Expr::Or(inner) => Ok(inner),
            other => Err(other),
        })
        .map(|operand| operand.map_joined(Expr::Or))
    }

    fn and(&mut self) -> Result<Operand, ParseError> {
        self.joined("&&", Self::relation, |expr| match expr {
            Expr::And(inner) => Ok(inner),
            other => Err(other),
        })
        .map(|operand| operand.map_joined(Expr::And))
    }

    /// One or more parts joined by an operator; one alone stays what it is.
    fn joined(
        &mut self,
        symbol: &str,
        part: fn(&mut Self) -> Result<Operand, ParseError>,
        flatten: fn(Expr) -> Result<Vec<Expr>, Expr>,
    ) -> Result<Joined, ParseError> {
        let first = part(self)?;
        if !self.at_symbol(symbol) {
            return Ok(Joined::One(first));
        }
        let mut span = first.span.clone();
        let mut operands = Vec::new();
        let mut add = |expr: Expr| match flatten(expr) {
            Ok(inner) => operands.extend(inner),
            Err(single) => operands.push(single),
        };
        add(self.condition(first)?);
        while self.take_symbol(symbol) {
            let next = part(self)?;
            span.end = next.span.end;
            // The operator is counted here, its operands where they are read.
            self.node(Node::Term(Term::Literal(Literal::Null)), next.span.clone())?;
            add(self.condition(next)?);
        }
        Ok(Joined::Many(operands, span))
    }

    fn relation(&mut self) -> Result<Operand, ParseError> {
        let left = self.unary()?;
        let Some(operator) = self.take_relation_operator() else { return Ok(left) };
        let left_span = left.span.clone();
        let left = self.term(left, &operator)?;
        let right = self.unary()?;
        let span = left_span.start..right.span.end;
        let right_span = right.span.clone();
        let right = self.term(right, &operator)?;
        if let Some(second) = self.take_relation_operator() {
            let message = format!("`{}` after a comparison: comparisons do not chain", second.text());
            return self.error(self.tokens[self.at - 1].span.clone(), message, "join two comparisons: a < x && x < b");
        }
        let expr = match operator {
            Relation::Compare(op) => Expr::Compare { op, left, right },
            Relation::In if matches!(right, Term::Literal(_)) => {
                let hint = "write x in [\"a\", \"b\"], or text.contains(\"part\") to search a text";
                return self.error(right_span, "`in` needs a list or a field on its right", hint);
            }
            Relation::In => Expr::In { item: left, list: right },
        };
        self.node(Node::Expr(expr), span)
    }

    fn take_relation_operator(&mut self) -> Option<Relation> {
        let operator = match self.peek() {
            Kind::Symbol("==") => Relation::Compare(CompareOp::Eq),
            Kind::Symbol("!=") => Relation::Compare(CompareOp::Ne),
            Kind::Symbol("<") => Relation::Compare(CompareOp::Lt),
            Kind::Symbol("<=") => Relation::Compare(CompareOp::Le),
            Kind::Symbol(">") => Relation::Compare(CompareOp::Gt),
            Kind::Symbol(">=") => Relation::Compare(CompareOp::Ge),
            Kind::Word("in") => Relation::In,
            _ => return None,
        };
        self.advance();
        Some(operator)
    }

    fn unary(&mut self) -> Result<Operand, ParseError> {
        let start = self.span().start;
        let mut count = 0;
        while self.take_symbol("!") {
            count += 1;
        }
        if count == 0 {
            return self.member();
        }
        let operand = self.nested(Self::member)?;
        let span = start..operand.span.end;
        let inner = self.condition(operand)?;
        let negated = match inner {
            same if count % 2 == 0 => same,
            Expr::Not(inner) => *inner,
            other => Expr::Not(Box::new(other)),
        };
        self.node(Node::Expr(negated), span)
    }

    /// What an operand is where a condition is needed.
    fn condition(&self, operand: Operand) -> Result<Expr, ParseError> {
        match operand.node {
            Node::Expr(expr) => Ok(expr),
            Node::Term(term @ (Term::Field(_) | Term::Literal(Literal::Bool(_)))) => Ok(Expr::Bare(term)),
            Node::Term(_) => {
                let message = "a value alone is neither true nor false";
                self.error(operand.span, message, "compare it with a field, as in country == \"DE\"")
            }
        }
    }

    /// What an operand is on either side of a comparison.
    fn term(&self, operand: Operand, operator: &Relation) -> Result<Term, ParseError> {
        let operator = operator.text();
        match operand.node {
            Node::Term(term) => Ok(term),
            Node::Expr(Expr::Not(_)) => {
                let message = format!("`!` binds tighter than `{operator}`, so this compares a condition");
                self.error(operand.span, message, format!("write !(a {operator} b)"))
            }
            Node::Expr(_) => {
                let message = format!("`{operator}` compares values, and this is a condition");
                self.error(operand.span, message, "write the condition alone, or !(...) for its opposite")
            }
        }
    }

    fn expect_end(&self) -> Result<(), ParseError> {
        match self.peek() {
            Kind::End => Ok(()),
            Kind::Symbol(")") => self.error(self.span(), "this `)` closes nothing", "leave it out or open it before"),
            Kind::Symbol("]") => self.error(self.span(), "this `]` closes nothing", "leave it out or open it before"),
            Kind::Symbol("!") => self.error(
                self.span(),
                "`!` stands before what it negates",
                "write x != 1, or !(x in [...]) for not in",
            ),
            _ => self.unexpected("an operator such as && or =="),
        }
    }

    /// Refuses the next token, with a hint if it looks like a known mistake.
    fn unexpected<T>(&self, wanted: &str) -> Result<T, ParseError> {
        let span = self.span();
        match self.peek() {
            Kind::Invalid(error) => Err(ParseError::clone(error)),
            Kind::End => self.error(span, format!("the expression ends where {wanted} should follow"), ""),
            Kind::Symbol(symbol) => match hints::for_symbol(symbol) {
                Some((message, hint)) => self.error(span, message, self.glued_hint(symbol).unwrap_or(hint)),
                None => self.error(span, format!("expected {wanted}, not `{symbol}`"), self.joining_hint()),
            },
            Kind::Word(word) => {
                let hint = hints::for_word_operator(word).unwrap_or_else(|| self.joining_hint().to_owned());
                self.error(span, format!("expected {wanted}, not `{word}`"), hint)
            }
            Kind::Number(_) => self.error(span, format!("expected {wanted}, not a number"), self.joining_hint()),
            Kind::String(_) => self.error(span, format!("expected {wanted}, not a string"), self.joining_hint()),
        }
    }

    /// For an operand, or a comma, right after an operand.
    fn joining_hint(&self) -> &'static str {
        let after_operand = self.at.checked_sub(1).is_some_and(|last| match self.tokens[last].kind {
            Kind::Word(word) => word != "in",
            Kind::Number(_) | Kind::String(_) | Kind::Symbol(")" | "]") => true,
            _ => false,
        });
        match self.peek() {
            Kind::Number(_) if after_operand && self.text[self.span()].starts_with('.') => {
                "a place in a list is written in brackets: x[0]"
            }
            Kind::Word(_) | Kind::Number(_) | Kind::String(_) if after_operand => "join conditions with && or ||",
            Kind::Symbol(",") if after_operand => {
                "join conditions with && or ||; a list is written in brackets: [1, 2]"
            }
            _ => "",
        }
    }

    /// For the operators of other languages that begin with a single `=`.
    fn glued_hint(&self, symbol: &str) -> Option<&'static str> {
        let start = self.span().start;
        match (symbol, self.text[start..].chars().nth(1)) {
            ("=", Some('>')) => Some("write >="),
            ("=", Some('<')) => Some("write <="),
            ("=", Some('~')) => Some("write x.matches(\"regex\")"),
            _ => None,
        }
    }
}

enum Joined {
    One(Operand),
    Many(Vec<Expr>, Range<usize>),
}

impl Joined {
    fn map_joined(self, join: fn(Vec<Expr>) -> Expr) -> Operand {
        match self {
            Self::One(operand) => operand,
            Self::Many(operands, span) => Operand { node: Node::Expr(join(operands)), span },
        }
    }
}

enum Relation {
    Compare(CompareOp),
    In,
}

impl Relation {
    fn text(&self) -> String {
        match self {
            Self::Compare(op) => op.to_string(),
            Self::In => "in".to_owned(),
        }
    }
}
