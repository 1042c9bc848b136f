//! Filters as NDJSON: import in chunks while the body comes, export as a stream.

use std::time::Duration;

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use evs_api::error::Problem;
use evs_api::filters::ImportResponse;
use evs_core::limits::WHERE_BYTES_MAX;
use evs_core::{FilterId, FilterVersion, SubscriberId};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::spec::{self, FilterBody};
use crate::auth::Subject;
use crate::http::Api;
use crate::http::extract::{PAGE_MAX, Query, parse_json, require_content_type};
use crate::http::guard::Caller;
use crate::http::problem::{ApiError, ApiResult};
use crate::ports::filter_store::{FilterDraft, PutOutcome};

/// Filters of one transaction: enough to share its cost, few enough that others get their turn.
const CHUNK_FILTERS: usize = 5_000;

/// A filter with its largest lists of long values would be larger; nobody imports those.
const LINE_BYTES_MAX: usize = 256 * 1024 + WHERE_BYTES_MAX;

/// A body that stops coming is not waited for longer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn router() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(import)).routes(routes!(export))
}

/// Import filters
///
/// NDJSON, a filter per line; lines with a `name` replace the filter of that name, so an import can be repeated.
/// Stored in chunks of some thousand lines, each all or nothing: an error names its line, and how many lines before it
/// are stored.
#[utoipa::path(post, path = "/filters/import", operation_id = "import_filters", tag = "filters",
    request_body(content = String, content_type = "application/x-ndjson", description = "a filter per line"),
    responses((status = 200, body = ImportResponse),
    (status = "4XX", description = "refused from some line on", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "try again", body = Problem, content_type = "application/problem+json")))]
async fn import(
    State(api): State<Api>,
    Caller(subject): Caller,
    request: Request,
) -> ApiResult<JsonAnswer<ImportResponse>> {
    require_content_type(request.headers(), &["application/x-ndjson", "application/ndjson", "application/jsonl"])?;
    let mut body = request.into_body().into_data_stream();
    let mut import =
        Import { api: &api, subject: &subject, chunk: Vec::new(), line: 0, stored: 0, done: ImportResponse::default() };
    let mut rest = BytesMut::new();
    loop {
        let part = tokio::time::timeout(READ_TIMEOUT, body.next()).await;
        let part = match part {
            Ok(None) => break,
            Ok(Some(Ok(part))) => part,
            Ok(Some(Err(_))) | Err(_) => {
                let error = ApiError::bad_request("body_incomplete", "the body ended before all of it had come");
                return Err(import.stopped(error));
            }
        };
        rest.extend_from_slice(&part);
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(at + 1).freeze();
            import.take(&line).await?;
        }
        if rest.len() > LINE_BYTES_MAX {
            let detail = format!("line {} has more than the {LINE_BYTES_MAX} bytes allowed", import.line + 1);
            return Err(import.stopped(ApiError::too_large("line_too_large", detail)));
        }
    }
    import.take(&rest.freeze()).await?;
    import.store().await?;
    Ok(JsonAnswer(import.done))
}

struct Import<'a> {
    api: &'a Api,
    subject: &'a Subject,
    chunk: Vec<FilterDraft>,
    /// Lines read.
    line: u64,
    /// Lines that are stored or were empty.
    stored: u64,
    done: ImportResponse,
}

impl Import<'_> {
    async fn take(&mut self, line: &Bytes) -> ApiResult<()> {
        if line.is_empty() {
            return Ok(());
        }
        self.line += 1;
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let draft = parse_json::<FilterBody>(line).and_then(|body| body.draft(self.subject, &self.api.app, None));
        match draft {
            Ok(draft) => self.chunk.push(draft),
            Err(error) => {
                let at = self.line;
                return Err(self.stopped(error.within(&format!("/{}", at - 1), &format!("line {at}"))));
            }
        }
        if self.chunk.len() == CHUNK_FILTERS {
            self.store().await?;
        }
        Ok(())
    }

    async fn store(&mut self) -> ApiResult<()> {
        let drafts = std::mem::take(&mut self.chunk);
        if drafts.is_empty() {
            return Ok(());
        }
        let puts = match self.api.app.filters.put(drafts).await {
            Ok(puts) => puts,
            Err(error) => {
                let place = format!("one of the lines {} to {}", self.stored + 1, self.line);
                return Err(self.stopped(ApiError::from(error).within("", &place)));
            }
        };
        for put in &puts {
            self.done.version = self.done.version.max(put.record.version.0);
            match put.outcome {
                PutOutcome::Created => self.done.created += 1,
                PutOutcome::Updated => self.done.updated += 1,
                PutOutcome::Unchanged => self.done.unchanged += 1,
            }
        }
        self.stored = self.line;
        Ok(())
    }

    /// The chunks before are stored and stay.
    fn stopped(&self, error: ApiError) -> ApiError {
        let stored = self.stored;
        error.with_hint(match stored {
            0 => "nothing was stored".to_owned(),
            _ => format!("lines 1 to {stored} are stored; mend the rest, and send from line {} on", stored + 1),
        })
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// Only filters of this subscriber.
    subscriber_id: Option<String>,
}

/// Export filters
///
/// NDJSON, a filter per line, by id; it can be imported again.
#[utoipa::path(get, path = "/filters/export", operation_id = "export_filters", tag = "filters", params(ExportQuery), responses(
    (status = 200, description = "a filter per line", body = String, content_type = "application/x-ndjson"),
    (status = "4XX", description = "refused", body = Problem, content_type = "application/problem+json")))]
async fn export(
    State(api): State<Api>,
    Caller(subject): Caller,
    Query(query): Query<ExportQuery>,
) -> ApiResult<Response> {
    let owner = super::visible_owner(&subject, query.subscriber_id.as_deref())?.flatten();
    let active = api.activation.version(&api.app).await?;
    let export = Export { api: api.clone(), subject, owner, after: Some(FilterId(0)), active };
    let pages = stream::try_unfold(export, async |mut export| {
        let Some(after) = export.after else { return Ok::<_, ApiError>(None) };
        let page = export.page(after).await?;
        Ok(Some((page, export)))
    });
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/x-ndjson"));
    let disposition = "attachment; filename=\"filters.ndjson\"";
    headers.insert(header::CONTENT_DISPOSITION, header::HeaderValue::from_static(disposition));
    Ok((headers, Body::from_stream(pages)).into_response())
}

#[derive(Debug)]
struct Export {
    api: Api,
    subject: Subject,
    owner: Option<SubscriberId>,
    /// `None` when all was sent.
    after: Option<FilterId>,
    active: FilterVersion,
}

impl Export {
    async fn page(&mut self, after: FilterId) -> ApiResult<Bytes> {
        let records = self.api.app.filters.filters(self.owner.as_ref(), after, PAGE_MAX).await?;
        self.after = records.last().filter(|_| records.len() == PAGE_MAX).map(|record| record.id);
        let mut lines = Vec::new();
        for record in &records {
            if let Some(filter) = spec::wire(record, self.active, &self.subject, &self.api.app) {
                serde_json::to_writer(&mut lines, &filter).map_err(ApiError::internal)?;
                lines.push(b'\n');
            }
        }
        Ok(lines.into())
    }
}
