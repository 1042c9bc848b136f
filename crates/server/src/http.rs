//! The REST API of the role `api`: every module owns its routes, this one joins them and stands guard before them.
//!
//! A request passes, in this order, the accept loop ([`serve()`]: header size and deadlines, connections in all and per
//! address), CORS, the guard (rate per address, token, rate per token, a deadline for the answer) and its handler.

mod activation;
pub mod asyncapi;
mod dead_letters;
mod docs;
mod event_log;
mod events;
mod explain;
pub mod extract;
mod filters;
pub mod guard;
pub mod health;
mod idempotency;
mod oplog;
pub mod problem;
mod serve;
pub mod sse;
mod stats;
mod subscribers;
mod tickets;
mod tokens;

use std::ops::Deref;
use std::sync::Arc;

use axum::{Router, middleware};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use activation::Activation;
use idempotency::Idempotency;
use stats::StatsFeed;
use subscribers::Table;

pub use serve::serve;

/// What handlers share: the app, and what only the api role keeps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<ApiState>);

#[derive(Debug)]
pub struct ApiState {
    app: App,
    activation: Activation,
    idempotency: Idempotency,
    subscribers: Table,
    stats: StatsFeed,
}

impl Deref for Api {
    type Target = ApiState;

    fn deref(&self) -> &ApiState {
        &self.0
    }
}

/// All routes of the api role.
pub fn router(app: App) -> Router {
    let (routes, openapi) = routes().split_for_parts();
    let api = Api(Arc::new(ApiState {
        activation: Activation::default(),
        idempotency: Idempotency::new(app.clock.clone()),
        subscribers: Table::default(),
        stats: StatsFeed::default(),
        app: app.clone(),
    }));
    let guarded = routes.layer(middleware::from_fn_with_state(app.clone(), guard::guard)).with_state(api);
    guarded
        .merge(docs::router(&openapi))
        .merge(health::router(app.clone()))
        .fallback(problem::unknown_route)
        .method_not_allowed_fallback(problem::unknown_method)
        .layer(crate::limits::cors(app.limits.config()))
}

/// The description of every route, as `/openapi.json` serves it.
#[must_use]
pub fn openapi() -> OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(docs::base())
        .merge(filters::router())
        .merge(events::router())
        .merge(event_log::router())
        .merge(subscribers::router())
        .merge(explain::router())
        .merge(stats::router())
        .merge(oplog::router())
        .merge(dead_letters::router())
        .merge(tickets::router())
        .merge(tokens::router())
}
