//! A filter as clients write it, as the store keeps it, and as clients read it: the conversions between them.

use evs_api::filters::{Filter as WireFilter, FilterFields, FilterStatus};
use evs_core::filter::ast::Literal;
use evs_core::{ConsumerName, Filter, FilterVersion, SubscriberId};
use serde::{Deserialize, Serialize};
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::tenancy;
use crate::auth::{Authorizer, Subject, subscriber_id};
use crate::clock::rfc3339;
use crate::http::problem::{ApiError, ApiResult, bad_filter, bad_name};
use crate::ports::filter_store::{FilterDraft, FilterRecord};

/// Body of `POST /filters` and `PUT /filters/{id}`, and a line of `POST /filters/import`. The server's own fields are
/// accepted and ignored, so that what was read or exported can be sent again; any other unknown field is refused.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FilterSpec)]
pub(super) struct FilterBody {
    /// Needed to create; cannot be changed.
    subscriber_id: Option<String>,
    /// A name of the client's own, unique for the subscriber: creating it again replaces it.
    name: Option<String>,
    /// Absent or empty: any.
    #[serde(default)]
    event_types: Vec<String>,
    /// Absent or empty: any.
    #[serde(default)]
    user_tiers: Vec<String>,
    #[schema(value_type = Option<f64>)]
    min_amount: Option<serde_json::Number>,
    /// An expression as docs/FILTERS.md describes.
    #[serde(rename = "where")]
    where_: Option<String>,
    #[schema(ignore)]
    #[serde(rename = "id")]
    _id: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "version")]
    _version: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "created_at")]
    _created_at: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "updated_at")]
    _updated_at: Option<IgnoredAny>,
    #[schema(ignore)]
    #[serde(rename = "activity")]
    _activity: Option<IgnoredAny>,
}

/// The stored form: [`FilterFields`] without subscriber and name. Additive.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct StoredFields {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) event_types: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) user_tiers: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) min_amount: Option<serde_json::Number>,
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub(super) where_: Option<String>,
}

impl StoredFields {
    /// # Errors
    /// 422 with pointer, span and hint.
    pub(super) fn filter(&self) -> ApiResult<Filter> {
        let boxed = |values: &[String]| values.iter().map(|value| value.as_str().into()).collect();
        let min_amount = self.min_amount.as_ref().map(literal);
        Filter::new(boxed(&self.event_types), boxed(&self.user_tiers), min_amount, self.where_.as_deref())
            .map_err(|error| bad_filter(&error, self.where_.as_deref()))
    }
}

fn literal(number: &serde_json::Number) -> Literal {
    match (number.as_i64(), number.as_u64()) {
        (Some(int), _) => Literal::Int(int),
        (None, Some(uint)) => Literal::Uint(uint),
        (None, None) => Literal::Double(number.as_f64().unwrap_or(f64::NAN)),
    }
}

impl FilterBody {
    /// Everything that can be checked without the store. `subscriber` is whose filter it is already, on an update, in
    /// the caller's words.
    pub(super) fn draft(
        self,
        subject: &Subject,
        auth: &Authorizer,
        subscriber: Option<&SubscriberId>,
    ) -> ApiResult<FilterDraft> {
        let Self { subscriber_id: given, name, event_types, user_tiers, min_amount, where_, .. } = self;
        let owner = match (given, subscriber) {
            (Some(given), _) => {
                SubscriberId::new(&given).map_err(|error| bad_name("subscriber_id", Some("/subscriber_id"), &error))?
            }
            (None, Some(owner)) => owner.clone(),
            (None, None) => {
                let message = "missing field `subscriber_id`";
                return Err(ApiError::refused("missing_field", message).at("/subscriber_id", message));
            }
        };
        subject.require(subject.may_filter(&owner), "filters:any, or filters:own for its own subscriber,")?;
        let name = name
            .map(|name| ConsumerName::new(&name).map_err(|error| bad_name("name", Some("/name"), &error)))
            .transpose()?;
        let mut fields = StoredFields { event_types, user_tiers, min_amount, where_ };
        let filter = fields.filter()?;
        super::admission::check(&filter)?;
        if let Some(tenant) = subject.tenant() {
            fields.where_ = Some(tenancy::confine(auth.tenant_field(), tenant, fields.where_.as_deref()));
            // The condition with the tenant's may be past a limit that the condition alone was not.
            fields.filter()?;
        }
        let spec = serde_json::to_string(&fields).map_err(ApiError::internal)?;
        Ok(FilterDraft { subscriber: subject.internal(&owner)?, name, spec })
    }
}

/// The stored fields of a record, in the caller's words.
pub(super) fn fields(record: &FilterRecord, subject: &Subject, auth: &Authorizer) -> ApiResult<StoredFields> {
    let mut fields: StoredFields = serde_json::from_str(&record.spec)
        .map_err(|error| ApiError::internal(format!("filter {} is damaged: {error}", record.id)))?;
    if let (Some(tenant), Some(where_)) = (subject.tenant(), &fields.where_) {
        fields.where_ = tenancy::free(auth.tenant_field(), tenant, where_);
    }
    Ok(fields)
}

/// `active` is what every queue shard is raised to. `None` for another tenant's filter.
pub(super) fn wire(
    record: &FilterRecord,
    active: FilterVersion,
    subject: &Subject,
    auth: &Authorizer,
) -> ApiResult<Option<WireFilter>> {
    let StoredFields { event_types, user_tiers, min_amount, where_ } = fields(record, subject, auth)?;
    let FilterRecord { id, subscriber, shard: _, slot: _, name, spec: _, version, created_ms, updated_ms } = record;
    let Some(subscriber) = subject.external(subscriber) else { return Ok(None) };
    let spec = FilterFields {
        subscriber_id: subscriber.to_string(),
        name: name.as_ref().map(ToString::to_string),
        event_types,
        user_tiers,
        min_amount,
        where_,
    };
    let status = if *version <= active { FilterStatus::Active } else { FilterStatus::Pending };
    let (created_at, updated_at) = (rfc3339(*created_ms), rfc3339(*updated_ms));
    Ok(Some(WireFilter { id: id.0, spec, version: version.0, status, created_at, updated_at, activity: None }))
}

/// The subscriber that a query names.
pub(super) fn queried(text: Option<&str>) -> ApiResult<Option<SubscriberId>> {
    text.map(subscriber_id).transpose()
}
