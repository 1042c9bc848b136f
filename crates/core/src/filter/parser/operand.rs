//! The operands: fields, literals, lists, calls and what is in parentheses.

use std::ops::Range;

use super::{Node, Operand, Parser};
use crate::filter::ast::{Expr, Literal, Path, Segment, StringFunction, Term};
use crate::filter::lexer::{self, Kind, Magnitude};
use crate::filter::parse_error::ParseError;
use crate::filter::{hints, pattern};
use crate::limits::{LIST_VALUES_MAX, LITERAL_BYTES_MAX, PATH_SEGMENTS_MAX};

/// Below `i64::MIN` by one, where a minus no longer helps.
const NEGATIVE_MAX: u64 = 1 << 63;

impl Parser<'_> {
    /// An operand with all that follows it by dots and brackets.
    pub(super) fn member(&mut self) -> Result<Operand, ParseError> {
        let mut operand = self.primary()?;
        loop {
            operand = if self.take_symbol(".") {
                self.after_dot(operand)?
            } else if self.at_symbol("[") {
                self.index(operand)?
            } else {
                return Ok(operand);
            };
        }
    }

    fn primary(&mut self) -> Result<Operand, ParseError> {
        let span = self.span();
        let term = match self.peek().clone() {
            Kind::Word("true") => Term::Literal(Literal::Bool(true)),
            Kind::Word("false") => Term::Literal(Literal::Bool(false)),
            Kind::Word("null") => Term::Literal(Literal::Null),
            Kind::Word(word) if word != "in" => return self.name(word),
            Kind::String(text) => Term::Literal(Literal::String(text)),
            Kind::Number(_) | Kind::Symbol("-") => return self.number(),
            Kind::Symbol("(") => return self.nested(Self::group),
            Kind::Symbol("[") => return self.list(),
            Kind::Symbol(".") => {
                let hint = "name the field without a dot in front";
                return self.error(span, "a name does not start with a dot", hint);
            }
            Kind::Symbol("?" | "+" | "*" | "/" | "%") | Kind::Word(_) => {
                return self.error(span, "an operand is missing here", "write a field or a value before the operator");
            }
            // Only from its second half `<>` can be told from a comparison with a missing operand.
            Kind::Symbol(">") if self.text[..span.start].ends_with('<') => {
                return self.error(span.start - 1..span.end, "unknown operator `<>`", "write !=");
            }
            _ => return self.unexpected("a field or a value"),
        };
        self.advance();
        self.node(Node::Term(term), span)
    }

    fn group(&mut self) -> Result<Operand, ParseError> {
        let open = self.span();
        self.advance();
        let inner = self.or()?;
        if !self.take_symbol(")") {
            return self.unclosed(open, "(", "`)` or an operator");
        }
        Ok(Operand { node: inner.node, span: open.start..self.end() })
    }

    /// Refuses what follows an open bracket: the bracket itself is at fault if the text just ends.
    fn unclosed<T>(&self, open: Range<usize>, bracket: &str, wanted: &str) -> Result<T, ParseError> {
        if self.peek() == &Kind::End {
            let close = if bracket == "(" { ")" } else { "]" };
            return self.error(open, format!("this `{bracket}` is not closed"), format!("add a `{close}`"));
        }
        self.unexpected(wanted)
    }

    /// A number with its sign.
    fn number(&mut self) -> Result<Operand, ParseError> {
        let start = self.span().start;
        let negative = self.take_symbol("-");
        let Kind::Number(magnitude) = *self.peek() else {
            let hint = "only a number can be negative; compare with a ready value";
            return self.error(start..self.span().end, "arithmetic is not part of the language", hint);
        };
        self.advance();
        let span = start..self.end();
        let literal = match magnitude {
            Magnitude::Double(n) if negative => Literal::Double(-n),
            Magnitude::Double(n) => Literal::Double(n),
            Magnitude::Plain(n) if negative && n <= NEGATIVE_MAX => Literal::Int(0i64.wrapping_sub_unsigned(n)),
            Magnitude::Plain(_) if negative => {
                let hint = "write it as a double, with a point";
                return self.error(span, "the integer is below -9223372036854775808, the least of 64 bits", hint);
            }
            Magnitude::Uint(_) if negative => {
                return self.error(span, "an unsigned number cannot be negative", "leave out the u");
            }
            Magnitude::Plain(n) => i64::try_from(n).map_or(Literal::Uint(n), Literal::Int),
            Magnitude::Uint(n) => Literal::Uint(n),
        };
        self.node(Node::Term(Term::Literal(literal)), span)
    }

    fn list(&mut self) -> Result<Operand, ParseError> {
        let open = self.span();
        self.advance();
        let mut items = Vec::new();
        while !self.take_symbol("]") {
            if self.at_symbol("[") {
                return self.error(self.span(), "a list inside a list is not part of the language", "");
            }
            if self.peek() == &Kind::End {
                return self.unclosed(open, "[", "");
            }
            // The values have a limit of their own and are no operands to count.
            let counted = self.nodes;
            let item = self.member()?;
            self.nodes = counted;
            match item.node {
                Node::Term(term) => items.push(term),
                Node::Expr(_) => {
                    let hint = "a list holds values and fields: [1, \"a\", x]";
                    return self.error(item.span, "a condition cannot be in a list", hint);
                }
            }
            if items.len() > LIST_VALUES_MAX {
                let message = format!("the list has more than {LIST_VALUES_MAX} values");
                return self.error(open, message, "split it over several filters");
            }
            if !self.take_symbol(",") && !self.at_symbol("]") {
                if matches!(self.peek(), Kind::Word(_) | Kind::Number(_) | Kind::String(_)) {
                    return self.error(self.span(), "expected `,` or `]`", "separate the values by commas: [1, 2]");
                }
                return self.unclosed(open, "[", "`,` or `]`");
            }
        }
        self.node(Node::Term(Term::List(items)), open.start..self.end())
    }

    /// A field, or `has(...)`.
    fn name(&mut self, word: &str) -> Result<Operand, ParseError> {
        let span = self.span();
        if lexer::is_reserved(word) {
            let message = format!("`{word}` is a reserved word of CEL and names no top-level field");
            return self.error(
                span,
                message,
                "put the field into an object: inside one, as in item.package, it is allowed",
            );
        }
        self.advance();
        if self.at_symbol("(") {
            if word != "has" {
                let hint = hints::for_function(word);
                return self.error(span, format!("there is no function `{word}(...)`"), hint);
            }
            return self.has(span.start);
        }
        if matches!(word, "not" | "NOT" | "Not") && matches!(self.peek(), Kind::Word(_)) {
            return self.error(span, format!("there is no operator `{word}`"), "write ! for not, as in !has(test)");
        }
        self.check_key(word, &span)?;
        self.node(Node::Term(Term::Field(Path([Segment::Key(word.into())].into()))), span)
    }

    fn has(&mut self, start: usize) -> Result<Operand, ParseError> {
        let open = self.span();
        self.advance();
        if self.at_symbol(")") {
            let span = open.start..self.span().end;
            return self.error(span, "has(...) asks for a field", "write has(device.os) or has(test)");
        }
        let arg = self.member()?;
        let Node::Term(Term::Field(path)) = arg.node else {
            return self.error(arg.span, "has(...) asks for a field", "write has(device.os) or has(test)");
        };
        if !self.take_symbol(")") {
            if matches!(self.peek(), Kind::Symbol("==" | "!=" | "<" | "<=" | ">" | ">=" | "&&" | "||" | ",")) {
                return self.error(self.span(), "has(...) takes one field and nothing else", "write has(x) && x == 1");
            }
            return self.unclosed(open, "(", "`)`");
        }
        self.node(Node::Expr(Expr::Has(path)), start..self.end())
    }

    /// `.key` or `.function(arg)`.
    fn after_dot(&mut self, target: Operand) -> Result<Operand, ParseError> {
        let name_span = self.span();
        let name = match *self.peek() {
            Kind::Word(word) if lexer::is_selector(word) => word,
            Kind::Word(word) => {
                let hint = format!("write it in brackets: [\"{word}\"]");
                return self.error(name_span, format!("`{word}` is a keyword and cannot follow a dot"), hint);
            }
            _ => return self.unexpected("a name after the dot"),
        };
        self.advance();
        if self.at_symbol("(") {
            return self.call(target, name, name_span);
        }
        self.extend(target, Segment::Key(name.into()), &name_span)
    }

    /// `["key"]` or `[0]`.
    fn index(&mut self, target: Operand) -> Result<Operand, ParseError> {
        let open = self.span();
        self.advance();
        let span = self.span();
        let segment = match self.peek().clone() {
            Kind::String(key) => Segment::Key((*key).into()),
            Kind::Number(Magnitude::Plain(n) | Magnitude::Uint(n)) => Segment::Index(n),
            Kind::Number(_) => return self.error(span, "a place in a list is a whole number", ""),
            Kind::Symbol("-") => {
                return self.error(
                    span,
                    "a place in a list counts from 0 at its start",
                    "there is no way to count from the end",
                );
            }
            Kind::Word(word) => {
                let hint = format!("for the key itself write [\"{word}\"]");
                return self.error(span, "a field in brackets is not part of the language", hint);
            }
            Kind::End => return self.unclosed(open, "[", ""),
            _ => return self.unexpected("a key in quotes or a whole number"),
        };
        self.advance();
        if !self.take_symbol("]") {
            return self.unclosed(open, "[", "`]`");
        }
        self.extend(target, segment, &span)
    }

    fn extend(&mut self, target: Operand, segment: Segment, span: &Range<usize>) -> Result<Operand, ParseError> {
        let whole = target.span.start..self.end();
        let Node::Term(Term::Field(path)) = target.node else {
            return self.error(target.span, "only a field has parts", "");
        };
        if let Segment::Key(key) = &segment {
            self.check_key(key, span)?;
        }
        let mut segments = path.0.into_vec();
        segments.push(segment);
        if segments.len() > PATH_SEGMENTS_MAX {
            let message = format!("the path has more than {PATH_SEGMENTS_MAX} parts");
            return self.error(whole, message, "");
        }
        Ok(Operand { node: Node::Term(Term::Field(Path(segments.into()))), span: whole })
    }

    fn check_key(&self, key: &str, span: &Range<usize>) -> Result<(), ParseError> {
        if key.len() <= LITERAL_BYTES_MAX {
            return Ok(());
        }
        self.error(span.clone(), format!("the name has more than {LITERAL_BYTES_MAX} bytes"), "")
    }

    fn call(&mut self, target: Operand, name: &str, name_span: Range<usize>) -> Result<Operand, ParseError> {
        let function = match name {
            "startsWith" => StringFunction::StartsWith,
            "endsWith" => StringFunction::EndsWith,
            "contains" => StringFunction::Contains,
            "matches" => StringFunction::Matches,
            _ => return self.error(name_span, format!("there is no function `.{name}(...)`"), hints::for_method(name)),
        };
        let start = target.span.start;
        let target = self.string_operand(target, function)?;
        let open = self.span();
        self.advance();
        if self.at_symbol(")") {
            return self.error(open.start..self.span().end, format!("{name}(...) needs one argument"), "");
        }
        let arg = self.member()?;
        let arg_span = arg.span.clone();
        let arg = self.string_operand(arg, function)?;
        if self.at_symbol(",") {
            return self.error(self.span(), format!("{name}(...) takes one argument"), "join several calls with ||");
        }
        if !self.take_symbol(")") {
            return self.unclosed(open, "(", "`)`");
        }
        if function == StringFunction::Matches {
            let Term::Literal(Literal::String(text)) = &arg else {
                let hint = "write the pattern in quotes; to search for a field's text use contains(...)";
                return self.error(arg_span, "the pattern of matches(...) must be known when the filter is made", hint);
            };
            if let Err(reason) = pattern::compile(text) {
                let hint = "patterns are RE2's: no backreferences, no look-around; see also startsWith and contains";
                return self.error(arg_span, format!("the pattern does not compile: {reason}"), hint);
            }
        }
        self.node(Node::Expr(Expr::Call { function, target, arg }), start..self.end())
    }

    fn string_operand(&self, operand: Operand, function: StringFunction) -> Result<Term, ParseError> {
        match operand.node {
            Node::Term(term @ (Term::Field(_) | Term::Literal(Literal::String(_)))) => Ok(term),
            Node::Term(Term::List(_)) if function == StringFunction::Contains => {
                self.error(operand.span, "contains(...) searches a text, not a list", "write x in [...]")
            }
            _ => self.error(
                operand.span,
                format!("{function}(...) works on texts and fields only"),
                "put text in quotes",
            ),
        }
    }
}
