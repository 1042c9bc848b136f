//! Which filters are refused although they can be read: those that can never match, and too many that cost too much.

use evs_core::Filter;

use crate::app::App;
use crate::http::problem::{ApiError, ApiResult};

/// # Errors
/// 422 with the reason.
pub(super) fn check(filter: &Filter, _app: &App) -> ApiResult<()> {
    match filter.never_matches() {
        None => Ok(()),
        Some(reason) => Err(ApiError::refused("never_matches", format!("no event can match this filter: {reason}"))
            .with_hint("POST /filters/test shows what a filter would match")),
    }
}

/// What the author of a filter should know before it is created.
pub(super) fn warning(filter: &Filter) -> Option<String> {
    filter.never_matches().map(|reason| format!("no event can match this filter: {reason}"))
}
