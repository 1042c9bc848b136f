//! The canonical text of an expression: what `parse_where` reads back as the same tree.
//!
//! One space around operators, no parentheses but those that matter, strings in double quotes, `.key` where a key is a
//! name and `["key"]` where it is not.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{CompareOp, Expr, Literal, Path, Segment, StringFunction, Term};
use super::lexer;

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Or(operands) => write_joined(f, operands, " || ", |expr| matches!(expr, Self::Or(_))),
            Self::And(operands) => write_joined(f, operands, " && ", |expr| matches!(expr, Self::Or(_) | Self::And(_))),
            Self::Not(inner) => {
                f.write_char('!')?;
                // `!` binds tighter than any operator that joins two operands.
                let joins = matches!(**inner, Self::Or(_) | Self::And(_) | Self::Compare { .. } | Self::In { .. });
                write_grouped(f, inner, joins)
            }
            Self::Compare { op, left, right } => write!(f, "{left} {op} {right}"),
            Self::In { item, list } => write!(f, "{item} in {list}"),
            Self::Call { function, target, arg } => write!(f, "{target}.{function}({arg})"),
            Self::Has(path) => write!(f, "has({path})"),
            Self::Bare(term) => term.fmt(f),
        }
    }
}

fn write_joined(f: &mut Formatter<'_>, operands: &[Expr], joint: &str, group: fn(&Expr) -> bool) -> fmt::Result {
    for (i, operand) in operands.iter().enumerate() {
        if i > 0 {
            f.write_str(joint)?;
        }
        write_grouped(f, operand, group(operand))?;
    }
    Ok(())
}

fn write_grouped(f: &mut Formatter<'_>, expr: &Expr, group: bool) -> fmt::Result {
    if group { write!(f, "({expr})") } else { expr.fmt(f) }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(path) => path.fmt(f),
            Self::Literal(literal) => literal.fmt(f),
            Self::List(items) => {
                f.write_char('[')?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_char(']')
            }
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(n) => n.fmt(f),
            Self::Uint(n) => write!(f, "{n}u"),
            // Debug keeps the point or the exponent that tells a double from an int.
            Self::Double(n) => write!(f, "{n:?}"),
            Self::String(text) => write_quoted(f, text),
        }
    }
}

fn write_quoted(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) if i == 0 => f.write_str(key)?,
                Segment::Key(key) if lexer::is_selector(key) => write!(f, ".{key}")?,
                Segment::Key(key) => {
                    f.write_char('[')?;
                    write_quoted(f, key)?;
                    f.write_char(']')?;
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Display for CompareOp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        })
    }
}

impl Display for StringFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Contains => "contains",
            Self::Matches => "matches",
        })
    }
}
