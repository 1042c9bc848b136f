//! Kills a server at random moments and judges from outside what its subscribers got.
//!
//!     cargo build --release -p evs-server --bin evs-server
//!     cargo run --release -p evs-server --example crash -- --kills 200 --seed 1

#[path = "../tests/crash/harness.rs"]
mod harness;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 200)]
    kills: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Acknowledged events between two kills, at the most
    #[arg(long, default_value_t = 2_000)]
    events_per_life: u64,
    /// The server to kill; by default evs-server beside this program's folder
    #[arg(long)]
    server: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let server = match args.server {
        Some(server) => server,
        None => std::env::current_exe()?
            .parent()
            .and_then(|examples| examples.parent())
            .context("no folder")?
            .join("evs-server"),
    };
    let campaign = harness::Campaign {
        server,
        seed: args.seed,
        kills: args.kills,
        events_per_life_max: args.events_per_life,
        verbose: true,
    };
    let report = harness::run(campaign).await?;
    print!("{report}");
    anyhow::ensure!(report.verdict.is_clean(), "the promise was broken");
    Ok(())
}
