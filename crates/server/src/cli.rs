//! The command line of the server.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role, Settings};
use crate::demo::DemoArgs;
use crate::run::Server;

/// The evs server: the roles api, matcher and gateway in one binary. Without a command it serves.
#[derive(Debug, Parser)]
#[command(version, about, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings file; by default evs.toml in the current folder, if there is one
    #[arg(long, env = "EVS_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start on a temporary folder with filters and traffic, and show what one subscriber gets
    Demo(DemoArgs),
    /// Ask the roles of this configuration whether they are ready; exit 0 if they are
    Healthcheck,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// A sentence for the terminal.
pub fn serve(settings: Settings, file: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(settings, file)?;
    start_logging();
    crate::limits::raise_limit_of_files();
    runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        tokio::spawn(stop_on_signal(shutdown.clone()));
        let server = Server::start(config, shutdown).await?;
        for role in [Role::Api, Role::Matcher, Role::Gateway] {
            if let Some(addr) = server.addr(role) {
                tracing::info!(role = role.name(), %addr, "listening");
            }
        }
        server.run().await?;
        tracing::info!("stopped");
        Ok(())
    })
}

/// Asks `/readyz` of every role.
///
/// # Errors
/// Names the role that is not ready and what it said.
pub fn healthcheck(settings: Settings, file: Option<&Path>) -> anyhow::Result<()> {
    let config = Config::load(settings, file)?;
    runtime()?.block_on(async {
        for role in &config.role {
            let addr = match role {
                Role::Api => config.api_addr,
                Role::Matcher => config.matcher_addr,
                Role::Gateway => config.gateway_addr,
            };
            let answer = crate::health_client::get(addr, "/readyz").await;
            let (status, body) = answer.with_context(|| format!("the {} at {addr} does not answer", role.name()))?;
            anyhow::ensure!(status == 200, "the {} is not ready: {}", role.name(), body.trim());
        }
        Ok(())
    })
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// The first signal drains, the second ends at once.
pub(crate) async fn stop_on_signal(shutdown: CancellationToken) {
    let (Ok(mut term), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::warn!("signals cannot be caught; the server ends without draining");
        return;
    };
    for first in [true, false] {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        if first {
            shutdown.cancel();
            tracing::info!("stopping: connections are told, batches are finished");
        }
    }
    std::process::exit(130);
}

/// Sentences on a terminal, JSON elsewhere; `EVS_LOG` filters, as `RUST_LOG` does for others.
pub(crate) fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("EVS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A line that cannot be written would be complained of on stderr, where it cannot be written either: a panic.
    let to_stderr =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    if std::io::stderr().is_terminal() {
        to_stderr.with_target(false).init();
    } else {
        to_stderr.json().with_ansi(false).flatten_event(true).init();
    }
}
