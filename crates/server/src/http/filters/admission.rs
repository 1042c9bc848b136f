//! Which filters are refused although they can be read: those that can never match, and too many that cost too much.

use evs_core::Filter;
use evs_core::index::{Indexability, admission};

use crate::app::App;
use crate::http::problem::{ApiError, ApiResult};

/// Terms of the index that one filter may take: lists in lists of alternatives multiply.
const ENTRIES_MAX: usize = 10_000;

/// # Errors
/// 422 with the reason.
pub(super) fn check(filter: &Filter, app: &App) -> ApiResult<()> {
    if let Some(reason) = filter.never_matches() {
        return Err(ApiError::refused("never_matches", format!("no event can match this filter: {reason}"))
            .with_hint("POST /filters/test shows what a filter would match"));
    }
    let cost = admission(filter);
    if cost.entries > ENTRIES_MAX {
        let detail =
            format!("this filter takes {} places in the index, more than the {ENTRIES_MAX} allowed", cost.entries);
        return Err(ApiError::refused("too_costly", detail).with_hint("split it over several filters"));
    }
    let (present, max) = (app.activity.unindexable_filters(), app.limits.config().unindexable_filters_max);
    if cost.indexability == Indexability::Scanned && present >= max {
        let detail = format!(
            "this filter must be tried on every event, and there are {present} such filters already, of {max} that \
             limit_unindexable_filters allows"
        );
        return Err(ApiError::refused("too_many_scanned", detail).with_hint(SCANNED_HINT));
    }
    Ok(())
}

const SCANNED_HINT: &str = "add a condition that the index can look up, such as event_types, field == value, field in \
                            [...] or field.startsWith(...)";

/// What the author of a filter should know before it is created.
pub(super) fn warning(filter: &Filter) -> Option<String> {
    if let Some(reason) = filter.never_matches() {
        return Some(format!("no event can match this filter: {reason}"));
    }
    let scanned = admission(filter).indexability == Indexability::Scanned;
    scanned.then(|| format!("this filter must be tried on every event; {SCANNED_HINT}"))
}
