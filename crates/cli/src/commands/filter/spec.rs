//! A filter as flags, as a file, and as the core's own [`Filter`](evs_core::Filter), which checks it.

use std::path::Path;

use clap::Args;
use evs_client::api::filters::{Filter, FilterFields, FilterSpec};
use evs_core::filter::ast::Literal;
use evs_core::filter::{FilterError, Number};
use evs_core::limits::WHERE_BYTES_MAX;

use crate::exit::{ExitStatus, Failure};

/// All must hold; what is absent means any.
#[derive(Args, Clone, Debug, Default)]
#[group(id = "SpecArgs", multiple = true)]
pub(crate) struct SpecArgs {
    /// Who gets the events
    #[arg(short, long, value_name = "ID", add = clap_complete::engine::ArgValueCompleter::new(crate::complete::subscribers))]
    pub(crate) subscriber: Option<String>,
    /// A name of your own; creating it again replaces the filter
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) condition: ConditionArgs,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConditionArgs {
    /// Event types, any of them
    #[arg(short = 't', long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub(crate) types: Vec<String>,
    /// User tiers, any of them
    #[arg(long = "tier", value_name = "TIER", value_delimiter = ',')]
    pub(crate) tiers: Vec<String>,
    /// The least amount
    #[arg(long, value_name = "NUMBER", value_parser = number, allow_negative_numbers = true)]
    pub(crate) min_amount: Option<serde_json::Number>,
    /// An expression, such as 'amount >= 100 && country in ["DE","FR"]'
    #[arg(short, long = "where", value_name = "EXPR")]
    pub(crate) where_: Option<String>,
}

impl ConditionArgs {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { types, tiers, min_amount, where_ } = self;
        types.is_empty() && tiers.is_empty() && min_amount.is_none() && where_.is_none()
    }

    /// Without a subscriber, for a test.
    pub(crate) fn spec(&self) -> FilterSpec {
        FilterSpec {
            subscriber_id: String::new(),
            name: None,
            event_types: self.types.clone(),
            user_tiers: self.tiers.clone(),
            min_amount: self.min_amount.clone(),
            where_: self.where_.clone(),
        }
    }
}

impl SpecArgs {
    pub(crate) fn complete(&self) -> Result<FilterSpec, Failure> {
        let subscriber_id = self.subscriber.clone().ok_or_else(|| {
            Failure::usage("whose filter is it?").hint("give --subscriber ID, or a filter as JSON with -f FILE")
        })?;
        Ok(FilterSpec { subscriber_id, name: self.name.clone(), ..self.condition.spec() })
    }

    /// Subscriber and name stay as they are unless told otherwise.
    pub(crate) fn with_defaults_of(&self, old: &Filter) -> FilterSpec {
        FilterSpec {
            subscriber_id: self.subscriber.clone().unwrap_or_else(|| old.spec.subscriber_id.clone()),
            name: self.name.clone().or_else(|| old.spec.name.clone()),
            ..self.condition.spec()
        }
    }
}

fn number(text: &str) -> Result<serde_json::Number, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number; write for example 100 or 99.5"))
}

/// What can be sent again, of a filter that was read.
pub(crate) fn spec_of(filter: &Filter) -> FilterSpec {
    let FilterFields { subscriber_id, name, event_types, user_tiers, min_amount, where_ } = filter.spec.clone();
    FilterSpec { subscriber_id, name, event_types, user_tiers, min_amount, where_ }
}

/// The filters of a file, each with its line: one JSON object, an array, or NDJSON.
pub(crate) fn read_specs(path: &Path) -> Result<Vec<(usize, FilterSpec)>, Failure> {
    let text = read_text(path)?;
    parse_specs(&text)
        .map_err(|error| Failure::new(ExitStatus::Rejected, format!("{}: {error}", shown(path))))
        .map_err(|failure| failure.hint("a filter is {\"subscriber_id\": …, \"event_types\": […], \"where\": …}"))
}

pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    let result = if path == Path::new("-") {
        use std::io::IsTerminal;
        if std::io::stdin().is_terminal() {
            return Err(Failure::usage("standard input is a terminal").hint("pipe something in, or name a file"));
        }
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    result.map_err(|error| Failure::usage(format!("cannot read {}: {error}", shown(path))))
}

pub(crate) fn shown(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

fn parse_specs(text: &str) -> Result<Vec<(usize, FilterSpec)>, String> {
    if text.trim_start().starts_with('[') {
        let specs: Vec<FilterSpec> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return Ok(specs.into_iter().enumerate().map(|(at, spec)| (at + 1, spec)).collect());
    }
    // One object may span lines.
    let one_object = serde_json::from_str::<FilterSpec>(text);
    if let Ok(spec) = one_object {
        return Ok(vec![(1, spec)]);
    }
    let lines: Vec<_> = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
    if let ([_], Err(error)) = (lines.as_slice(), &one_object) {
        return Err(error.to_string());
    }
    lines
        .into_iter()
        .map(|(at, line)| match serde_json::from_str(line) {
            Ok(spec) => Ok((at + 1, spec)),
            Err(error) => Err(format!("line {}: {error}", at + 1)),
        })
        .collect()
}

/// The filter as the server will see it, or why it will not.
pub(crate) fn compile(spec: &FilterSpec) -> Result<evs_core::Filter, Failure> {
    let boxed = |values: &[String]| values.iter().map(|value| value.as_str().into()).collect();
    let min_amount = spec.min_amount.as_ref().map(|number| match Number::from_json(number) {
        Number::Int(int) => Literal::Int(int),
        Number::Uint(uint) => Literal::Uint(uint),
        Number::Double(double) => Literal::Double(double),
    });
    if let Some(text) = spec.where_.as_ref().filter(|text| text.len() > WHERE_BYTES_MAX) {
        let message = format!("the expression has {} bytes; at most {WHERE_BYTES_MAX} are allowed", text.len());
        return Err(Failure::new(ExitStatus::Rejected, message));
    }
    evs_core::Filter::new(boxed(&spec.event_types), boxed(&spec.user_tiers), min_amount, spec.where_.as_deref())
        .map_err(|error| {
            let message = match (&error, &spec.where_) {
                (FilterError::Where(error), Some(text)) => error.render(text),
                _ => error.to_string(),
            };
            Failure::new(ExitStatus::Rejected, message)
        })
}

/// Before anything is sent: mistakes are told faster and more clearly here.
pub(crate) fn check(spec: &FilterSpec) -> Result<(), Failure> {
    evs_core::SubscriberId::new(&spec.subscriber_id)
        .map_err(|error| Failure::new(ExitStatus::Rejected, format!("subscriber_id {error}")))?;
    compile(spec).map(drop)
}

/// One line for a table.
pub(crate) fn condition(spec: &FilterSpec) -> String {
    match compile(spec) {
        Ok(filter) => filter.condition().to_string(),
        // A newer server may have what we cannot read.
        Err(_) => spec.where_.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_may_hold_one_filter_or_many() {
        let one = "{\n \"subscriber_id\": \"a\"\n}";
        let lines = "{\"subscriber_id\":\"a\"}\n\n{\"subscriber_id\":\"b\"}\n";
        assert_eq!(parse_specs(one).unwrap().len(), 1);
        assert_eq!(parse_specs(lines).unwrap().iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(parse_specs("[{\"subscriber_id\":\"a\"}]").unwrap().len(), 1);
        let error = parse_specs("{\"subscriber_id\":\"a\"}\n{\"subscriber\":\"b\"}").unwrap_err();
        assert!(error.starts_with("line 2: unknown field `subscriber`"), "{error}");
        assert!(parse_specs("{\"subscriber_id\":").unwrap_err().starts_with("EOF"));
    }

    #[test]
    fn a_condition_reads_as_one_expression() {
        let spec = FilterSpec {
            event_types: vec!["purchase".into()],
            min_amount: Some(100.into()),
            where_: Some("country == 'DE'".into()),
            ..FilterSpec::default()
        };
        assert_eq!(condition(&spec), r#"event_type in ["purchase"] && amount >= 100 && country == "DE""#);
    }
}
