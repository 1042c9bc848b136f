//! What the shell completes from the server: subscribers and filters, within a moment or not at all.

use std::ffi::OsStr;
use std::time::Duration;

use clap::Parser as _;
use clap_complete::engine::CompletionCandidate;
use evs_client::{Client, SubscribersQuery};

use crate::args::Cli;
use crate::settings::Settings;

/// A person who pressed a key does not wait longer.
const CAP: Duration = Duration::from_millis(300);

const CANDIDATES_MAX: usize = 100;

pub(crate) fn subscribers(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().into_owned();
    ask(async |client| {
        let query = SubscribersQuery {
            search: Some(typed.clone()).filter(|typed| !typed.is_empty()),
            limit: Some(CANDIDATES_MAX),
            ..SubscribersQuery::default()
        };
        let page = client.subscribers(&query).await.ok()?;
        let fitting = page.items.into_iter().filter(|subscriber| subscriber.id.starts_with(&typed));
        Some(fitting.map(|subscriber| CompletionCandidate::new(subscriber.id)).collect())
    })
}

pub(crate) fn filters(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().into_owned();
    ask(async |client| {
        let page = client.filters(None, Some(1_000), None).await.ok()?;
        let fitting = page.items.into_iter().filter(|filter| filter.id.to_string().starts_with(&typed));
        let candidate = |filter: evs_client::api::filters::Filter| {
            let help = match &filter.spec.name {
                Some(name) => format!("{} of {}", name, filter.spec.subscriber_id),
                None => filter.spec.subscriber_id,
            };
            CompletionCandidate::new(filter.id.to_string()).help(Some(help.into()))
        };
        Some(fitting.take(CANDIDATES_MAX).map(candidate).collect())
    })
}

/// By the settings of environment, context and file; the flags on the half-written line are not looked at.
fn ask(question: impl AsyncFnOnce(Client) -> Option<Vec<CompletionCandidate>>) -> Vec<CompletionCandidate> {
    let answered = || {
        let matches = <Cli as clap::CommandFactory>::command().get_matches_from(["evs", "cheat"]);
        let cli = Cli::parse_from(["evs", "cheat"]);
        let settings = Settings::load(&cli.global, &matches).ok()?;
        let client = Client::new(settings.client_config().ok()?).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        runtime.block_on(async { tokio::time::timeout(CAP, question(client)).await.ok().flatten() })
    };
    answered().unwrap_or_default()
}
