//! An embedded server under strange input, and the judge: no panic, no 5xx, no answer that `/openapi.json` does not
//! describe, and at the end a server that still delivers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use evs_server::config::{Config, Durability, Role};
use evs_server::run::Server;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use crate::{rest, wire};

/// What to do, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Campaign {
    pub(crate) seed: u64,
    pub(crate) steps_max: u64,
    pub(crate) time_max: Duration,
    /// Tell how it goes once a minute.
    pub(crate) verbose: bool,
}

/// What was seen: how often each kind of answer came, and what must not be.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) steps: u64,
    pub(crate) answers: BTreeMap<String, u64>,
    pub(crate) findings: Vec<String>,
}

/// Findings kept; the first ones say it all.
const FINDINGS_MAX: usize = 20;

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Report {
    pub(crate) fn count(&mut self, answer: impl Into<String>) {
        *self.answers.entry(answer.into()).or_default() += 1;
    }

    pub(crate) fn finding(&mut self, what: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} steps", self.steps)?;
        let mut line = String::new();
        for (answer, count) in &self.answers {
            write!(line, "{answer} {count}  ")?;
        }
        writeln!(f, "{}", line.trim_end())?;
        for finding in &self.findings {
            writeln!(f, "FINDING {finding}")?;
        }
        write!(f, "{} findings", self.findings.len())
    }
}

/// Runs it. The server is new, embedded, and on ports of its own.
pub(crate) async fn run(campaign: Campaign) -> anyhow::Result<Report> {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(info.to_string());
    }));
    let folder = tempfile::tempdir()?;
    let any = "127.0.0.1:0".parse()?;
    let config = Config {
        data_dir: folder.path().to_owned(),
        api_addr: any,
        matcher_addr: any,
        gateway_addr: any,
        durability: Durability::Relaxed,
        limit_header_timeout_s: 2,
        log_bytes_max: 64 * 1024 * 1024,
        retention_s: 600,
        ..Config::default()
    };
    let shutdown = CancellationToken::new();
    let server = Server::start(config, shutdown.clone()).await?;
    let (Some(api), Some(gateway)) = (server.addr(Role::Api), server.addr(Role::Gateway)) else {
        anyhow::bail!("a role without an address");
    };
    let rest = rest::Rest::new(server.app().clone());
    let running = tokio::spawn(server.run());

    rest.prepare().await;

    let mut rng = StdRng::seed_from_u64(campaign.seed);
    let mut report = Report::default();
    let began = Instant::now();
    let mut told = began;
    while report.steps < campaign.steps_max && began.elapsed() < campaign.time_max {
        report.steps += 1;
        let input = match rng.random_range(0..10) {
            0 => {
                let to = if rng.random() { api } else { gateway };
                wire::http(&mut rng, &mut report, to).await
            }
            1 | 2 => wire::frames(&mut rng, &mut report, gateway).await,
            _ => rest.step(&mut rng, &mut report).await,
        };
        let panics = std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner));
        for panic in panics {
            report.finding(format!("step {}: {panic} after {input}", report.steps));
        }
        if campaign.verbose && told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("{} s: {report}", began.elapsed().as_secs());
        }
    }
    rest.still_delivers(&mut report).await;
    shutdown.cancel();
    if let Err(error) = running.await? {
        report.finding(format!("the server ended with {error:#}"));
    }
    Ok(report)
}
