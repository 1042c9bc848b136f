//! `GET /explain`: why a subscriber did or did not get an event.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    pub subscriber: String,
    pub position: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    /// Whether the filters, as they are now, match.
    pub matched: bool,
    pub filters: Vec<FilterExplanation>,
    /// What became of it, in order.
    pub trail: Vec<Step>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FilterExplanation {
    pub id: u32,
    pub matched: bool,
    pub clauses: Vec<Clause>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Clause {
    /// Canonical text, such as `amount >= 100`.
    pub text: String,
    /// `true`, `false` or `error`.
    pub outcome: String,
    /// The value that the clause saw, shortened, or why there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saw: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// `logged`, `matched`, `queued`, `sent`, `acked`, `spilled`, `trimmed`, `not_matched`, `pending`.
    pub step: String,
    pub detail: String,
}
