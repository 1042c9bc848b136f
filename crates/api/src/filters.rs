//! `/filters`.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Body of `POST /filters`, a line of `POST /filters/import`, and (without `subscriber_id`) of `PUT /filters/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FilterSpec {
    pub subscriber_id: String,
    /// A name of the client's own, unique for the subscriber: creating it again replaces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Absent or empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    /// Absent or empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_tiers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub min_amount: Option<serde_json::Number>,
    /// An expression as docs/FILTERS.md describes.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub where_: Option<String>,
}

/// A filter as the server has it. A client that reads one back may send it again: the server's own fields are told
/// apart by [`FilterSpec`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Filter {
    pub id: u32,
    #[serde(flatten)]
    pub spec: FilterFields,
    /// The change that made it what it is.
    pub version: u64,
    pub status: FilterStatus,
    /// RFC 3339, UTC.
    pub created_at: String,
    pub updated_at: String,
    /// Rates and counts since the matchers started. Where they are other processes than the API, it is absent until they
    /// have told it, some seconds after a filter was first looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<FilterActivity>,
}

/// As [`FilterSpec`], but a reader, so it accepts fields it does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FilterFields {
    pub subscriber_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_tiers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub min_amount: Option<serde_json::Number>,
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub where_: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FilterStatus {
    /// Stored; matchers have not all applied it yet.
    Pending,
    /// Every event that the log acknowledges from now on is matched against it.
    Active,
}

/// How often a filter matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FilterActivity {
    pub matched_total: u64,
    pub matched_per_s: f64,
    /// Milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_match_ms: Option<i64>,
}

impl FilterActivity {
    /// What two matchers have counted, together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            matched_total: self.matched_total + other.matched_total,
            matched_per_s: self.matched_per_s + other.matched_per_s,
            last_match_ms: self.last_match_ms.max(other.last_match_ms),
        }
    }
}

/// Body of `POST /filters/test`: a dry run on recent traffic, nothing is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_tiers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub min_amount: Option<serde_json::Number>,
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub where_: Option<String>,
    /// How far back: `10m`, `1h`, or RFC 3339; by default 10 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Samples wanted, 10 by default, at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TestResponse {
    /// The expression as the server reads it.
    pub canonical: String,
    pub scanned: u64,
    pub matched: u64,
    /// Matches per second over the span that was scanned.
    pub matched_per_s: f64,
    /// Seconds between the first and the last event scanned.
    pub span_s: f64,
    /// True if the scan ended at its limit before it reached the present.
    pub truncated: bool,
    /// A sentence, if the filter can never match, can only be found by trying it on every event, or asks for a field that
    /// none of the events has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The newest matches.
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    pub position: String,
    pub time_ms: i64,
    #[schema(value_type = Object)]
    pub data: Box<RawValue>,
}

/// Answer of `POST /filters/import`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImportResponse {
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// The version that holds all of it.
    pub version: u64,
}
