//! Columns of the subscribers table: which, and in which order. `tui.toml` and `:columns` choose them.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriberColumn {
    State,
    Subscriber,
    /// Deliveries that are not acked.
    Lag,
    /// Age of the oldest of them.
    Oldest,
    /// Time until retention deletes the oldest of them.
    LossIn,
    Rate,
    LastAck,
    Filters,
    Connections,
    /// Deliveries that retention deleted unread.
    Lost,
    Delivered,
    Acked,
}

use SubscriberColumn as C;

/// All, in the order that is used unless another is asked for.
pub const SUBSCRIBER_COLUMNS: [SubscriberColumn; 12] = [
    C::State,
    C::Subscriber,
    C::Lag,
    C::Oldest,
    C::LossIn,
    C::Rate,
    C::LastAck,
    C::Filters,
    C::Connections,
    C::Lost,
    C::Delivered,
    C::Acked,
];

impl SubscriberColumn {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            C::State => "state",
            C::Subscriber => "subscriber",
            C::Lag => "lag",
            C::Oldest => "oldest",
            C::LossIn => "loss_in",
            C::Rate => "rate",
            C::LastAck => "last_ack",
            C::Filters => "filters",
            C::Connections => "connections",
            C::Lost => "lost",
            C::Delivered => "delivered",
            C::Acked => "acked",
        }
    }
}

impl FromStr for SubscriberColumn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        SUBSCRIBER_COLUMNS.into_iter().find(|c| c.name() == text).ok_or_else(|| {
            let names = SUBSCRIBER_COLUMNS.map(C::name).join(", ");
            format!("no column {text:?}; there are: {names}")
        })
    }
}

/// Names with commas or spaces between; `all` or nothing is all of them.
///
/// # Errors
/// If one is unknown or the subscriber is not among them: rows without a name are of no use.
pub fn parse(text: &str) -> Result<Vec<SubscriberColumn>, String> {
    let names: Vec<&str> = text.split([',', ' ']).filter(|t| !t.is_empty()).collect();
    if names.is_empty() || names == ["all"] {
        return Ok(SUBSCRIBER_COLUMNS.to_vec());
    }
    let columns = names.into_iter().map(str::parse).collect::<Result<Vec<_>, _>>()?;
    check(&columns)?;
    Ok(columns)
}

/// # Errors
/// If the subscriber is not among them, or one is there twice.
pub fn check(columns: &[SubscriberColumn]) -> Result<(), String> {
    if !columns.contains(&C::Subscriber) {
        return Err("the columns must have \"subscriber\" among them".into());
    }
    match columns.iter().enumerate().find(|(at, c)| columns[..*at].contains(c)) {
        Some((_, twice)) => Err(format!("the column {:?} is there twice", twice.name())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_chosen_by_name() {
        assert_eq!(parse("subscriber, lag state"), Ok(vec![C::Subscriber, C::Lag, C::State]));
        assert_eq!(parse("all").map(|c| c.len()), Ok(12));
        assert!(parse("subscriber,lga").unwrap_err().contains("\"lga\"; there are: state, subscriber, lag"));
        assert!(parse("lag").unwrap_err().contains("subscriber"));
        assert!(parse("subscriber lag lag").unwrap_err().contains("twice"));
    }
}
