//! Why a filter is refused, and the checks of its typed fields.

use std::sync::Arc;

use thiserror::Error;

use super::ast::Literal;
use super::parse_error::ParseError;
use crate::limits::{LIST_VALUES_MAX, LITERAL_BYTES_MAX};

/// A refusal of a filter, naming the field at fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FilterError {
    #[error("{field} has {count} values, more than the {LIST_VALUES_MAX} allowed: split it over several filters")]
    TooManyValues { field: &'static str, count: usize },

    #[error("{field}[{index}] has {bytes} bytes, more than the {LITERAL_BYTES_MAX} allowed: shorten it")]
    ValueTooLong { field: &'static str, index: usize, bytes: usize },

    #[error("{field}[{index}] is empty: leave it out, or leave {field} out to take any")]
    ValueEmpty { field: &'static str, index: usize },

    #[error("min_amount is not a finite number: give a number such as 100 or 99.5, or leave it out to take any")]
    MinAmount,

    #[error("where: {}", with_hint(.0))]
    Where(#[from] ParseError),
}

fn with_hint(error: &ParseError) -> String {
    match &error.hint {
        Some(hint) => format!("{error}: {hint}"),
        None => error.to_string(),
    }
}

impl FilterError {
    /// The field at fault, as it is named in the API.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::TooManyValues { field, .. } | Self::ValueTooLong { field, .. } | Self::ValueEmpty { field, .. } => {
                field
            }
            Self::MinAmount => "min_amount",
            Self::Where(_) => "where",
        }
    }
}

pub(super) fn check_values(field: &'static str, values: &[Arc<str>]) -> Result<(), FilterError> {
    if values.len() > LIST_VALUES_MAX {
        return Err(FilterError::TooManyValues { field, count: values.len() });
    }
    for (index, value) in values.iter().enumerate() {
        if value.is_empty() {
            return Err(FilterError::ValueEmpty { field, index });
        }
        if value.len() > LITERAL_BYTES_MAX {
            return Err(FilterError::ValueTooLong { field, index, bytes: value.len() });
        }
    }
    Ok(())
}

pub(super) fn check_min_amount(min_amount: Option<&Literal>) -> Result<(), FilterError> {
    match min_amount {
        None | Some(Literal::Int(_) | Literal::Uint(_)) => Ok(()),
        Some(Literal::Double(n)) if n.is_finite() => Ok(()),
        Some(_) => Err(FilterError::MinAmount),
    }
}
