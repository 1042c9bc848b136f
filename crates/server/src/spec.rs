//! The stored form of a filter, and its way to a compiled one.

use evs_api::filters::FilterFields;
use evs_core::filter::ast::Literal;
use evs_core::filter::{FilterError, Number};
use evs_core::{ConsumerName, Filter, NameError, SubscriberId};
use serde::{Deserialize, Serialize};

use crate::ports::filter_store::{FilterDraft, FilterRecord};

/// What a filter says, without whose it is: kept as JSON in the store. Persisted, so additive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stored {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    event_types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    user_tiers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_amount: Option<serde_json::Number>,
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    where_: Option<String>,
}

/// Why a filter cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("subscriber_id {0}")]
    Subscriber(NameError),
    #[error("name {0}")]
    Name(NameError),
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Checks a filter from outside; gives its stored and its compiled form.
///
/// # Errors
/// [`SpecError`] names the field.
pub fn draft(fields: &FilterFields) -> Result<(FilterDraft, Filter), SpecError> {
    let FilterFields { subscriber_id, name, event_types, user_tiers, min_amount, where_ } = fields;
    let subscriber = SubscriberId::new(subscriber_id).map_err(SpecError::Subscriber)?;
    let name = name.as_deref().map(ConsumerName::new).transpose().map_err(SpecError::Name)?;
    let stored = Stored {
        event_types: event_types.clone(),
        user_tiers: user_tiers.clone(),
        min_amount: min_amount.clone(),
        where_: where_.clone(),
    };
    let filter = compile(&stored)?;
    let spec = serde_json::to_string(&stored).unwrap_or_default();
    Ok((FilterDraft { subscriber, name, spec }, filter))
}

/// The filter of typed fields and an expression that belong to nobody, for dry runs and ad-hoc conditions.
///
/// # Errors
/// [`FilterError`] names the field.
pub fn filter(
    event_types: &[String],
    user_tiers: &[String],
    min_amount: Option<&serde_json::Number>,
    where_: Option<&str>,
) -> Result<Filter, FilterError> {
    let boxed = |values: &[String]| values.iter().map(|value| value.as_str().into()).collect();
    Filter::new(boxed(event_types), boxed(user_tiers), min_amount.map(literal), where_)
}

fn compile(stored: &Stored) -> Result<Filter, FilterError> {
    filter(&stored.event_types, &stored.user_tiers, stored.min_amount.as_ref(), stored.where_.as_deref())
}

fn literal(number: &serde_json::Number) -> Literal {
    match Number::from_json(number) {
        Number::Int(value) => Literal::Int(value),
        Number::Uint(value) => Literal::Uint(value),
        Number::Double(value) => Literal::Double(value),
    }
}

/// What the stored form says, for answers.
#[must_use]
pub fn fields(record: &FilterRecord) -> FilterFields {
    let Stored { event_types, user_tiers, min_amount, where_ } = serde_json::from_str(&record.spec).unwrap_or_default();
    FilterFields {
        subscriber_id: record.subscriber.to_string(),
        name: record.name.as_ref().map(ToString::to_string),
        event_types,
        user_tiers,
        min_amount,
        where_,
    }
}

/// The compiled form of a stored filter.
///
/// # Errors
/// A sentence, if it was stored by a version whose language this one does not know.
pub fn compiled(record: &FilterRecord) -> Result<Filter, String> {
    let stored: Stored = serde_json::from_str(&record.spec).map_err(|error| error.to_string())?;
    compile(&stored).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_its_stored_form() {
        let fields_in = FilterFields {
            subscriber_id: "user_1".into(),
            event_types: vec!["purchase".into()],
            min_amount: Some(100.into()),
            where_: Some("country in [\"DE\"]".into()),
            ..FilterFields::default()
        };
        let (draft, filter) = draft(&fields_in).unwrap();
        let record = FilterRecord {
            id: evs_core::FilterId(1),
            subscriber: draft.subscriber,
            shard: evs_core::Shard(0),
            slot: evs_core::Slot(0),
            name: None,
            spec: draft.spec,
            version: evs_core::FilterVersion(1),
            created_ms: 0,
            updated_ms: 0,
        };
        assert_eq!(fields(&record), fields_in);
        assert_eq!(compiled(&record).unwrap(), filter);
    }
}
