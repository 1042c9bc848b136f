//! A filter as clients write it, as the store keeps it, and as clients read it: the conversions between them.

use evs_api::filters::{Filter as WireFilter, FilterFields, FilterStatus};
use evs_core::{Filter, FilterVersion, SubscriberId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use utoipa::ToSchema;

use super::tenancy;
use crate::app::App;
use crate::auth::{Authorizer, Subject, subscriber_id};
use crate::clock::rfc3339;
use crate::config::Role;
use crate::http::problem::{ApiError, ApiResult, bad_filter, bad_name};
use crate::ports::filter_store::{FilterDraft, FilterRecord};
use crate::spec::{self, SpecError};

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

impl FilterBody {
    /// Everything that can be checked without the store. `subscriber` is whose filter it is already, on an update, in
    /// the caller's words.
    pub(super) fn draft(
        self,
        subject: &Subject,
        app: &App,
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
        let subscriber_id = subject.internal(&owner)?.to_string();
        let mut fields = FilterFields { subscriber_id, name, event_types, user_tiers, min_amount, where_ };
        let (draft, filter) = checked(&fields)?;
        super::admission::check(&filter, app)?;
        match subject.tenant() {
            None => Ok(draft),
            Some(tenant) => {
                fields.where_ = Some(tenancy::confine(app.auth.tenant_field(), tenant, fields.where_.as_deref()));
                // The condition with the tenant's may be past a limit that the condition alone was not.
                Ok(checked(&fields)?.0)
            }
        }
    }
}

fn checked(fields: &FilterFields) -> ApiResult<(FilterDraft, Filter)> {
    spec::draft(fields).map_err(|error| match error {
        SpecError::Subscriber(error) => bad_name("subscriber_id", Some("/subscriber_id"), &error),
        SpecError::Name(error) => bad_name("name", Some("/name"), &error),
        SpecError::Filter(error) => bad_filter(&error, fields.where_.as_deref()),
    })
}

/// What a record says, without the condition that confines it to the caller's tenant.
pub(in crate::http) fn own_fields(record: &FilterRecord, subject: &Subject, auth: &Authorizer) -> FilterFields {
    let mut fields = spec::fields(record);
    if let (Some(tenant), Some(where_)) = (subject.tenant(), &fields.where_) {
        fields.where_ = tenancy::free(auth.tenant_field(), tenant, where_);
    }
    fields
}

/// `active` is what every queue shard is raised to. `None` for another tenant's filter.
pub(super) fn wire(record: &FilterRecord, active: FilterVersion, subject: &Subject, app: &App) -> Option<WireFilter> {
    let FilterRecord { id, subscriber, shard: _, slot: _, name: _, spec: _, version, created_ms, updated_ms } = record;
    let subscriber_id = subject.external(subscriber)?.to_string();
    let spec = FilterFields { subscriber_id, ..own_fields(record, subject, &app.auth) };
    let status = if *version <= active { FilterStatus::Active } else { FilterStatus::Pending };
    let (created_at, updated_at) = (rfc3339(*created_ms), rfc3339(*updated_ms));
    let activity = app.activity.of(id.0, app.config.runs(Role::Matcher), app.clock.now_ms());
    Some(WireFilter { id: id.0, spec, version: version.0, status, created_at, updated_at, activity })
}

/// The subscriber that a query names.
pub(super) fn queried(text: Option<&str>) -> ApiResult<Option<SubscriberId>> {
    text.map(subscriber_id).transpose()
}
