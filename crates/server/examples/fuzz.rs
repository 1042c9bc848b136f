//! Strange requests, bodies and frames against a whole embedded server for as long as wanted; prints what was
//! answered, and exits 1 if there was a panic, a 5xx, or an answer that `/openapi.json` does not describe.
//!
//!     cargo run -p evs-server --example fuzz -- --seconds 3600 --seed 1

#[path = "../tests/fuzz/campaign.rs"]
mod campaign;
#[path = "../tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../tests/fuzz/rest.rs"]
mod rest;
#[path = "../tests/fuzz/wire.rs"]
mod wire;

use std::time::Duration;

use clap::Parser;

#[derive(Debug, Parser)]
struct Args {
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let time_max = Duration::from_secs(args.seconds);
    let campaign = campaign::Campaign { seed: args.seed, steps_max: u64::MAX, time_max, verbose: true };
    let report = campaign::run(campaign).await?;
    println!("{report}");
    anyhow::ensure!(report.findings.is_empty(), "there are findings");
    Ok(())
}
