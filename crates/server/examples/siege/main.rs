//! A server under siege, and what its legitimate clients notice: slow-loris connections and a flood of bad tokens
//! beside them, or thousands of consumers that read nothing. Prints figures before, while the same attack goes to a sink
//! beside the server (attacker and clients share the machine's cores with it), and during; judges nothing.
//!
//!     cargo build --release -p evs-server --bin evs-server
//!     cargo run --release -p evs-server --example siege -- loris --connections 5000
//!     cargo run --release -p evs-server --example siege -- flood --rate 2000
//!     cargo run --release -p evs-server --example siege -- slow --consumers 10000

mod flood;
mod legit;
mod loris;
mod outside;
mod server;
mod sink;
mod slow;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use flood::Flood;
use legit::Legit;
use loris::Loris;
use server::Besieged;

#[derive(Debug, Parser)]
struct Args {
    /// The server; by default evs-server beside this program's folder
    #[arg(long, global = true)]
    server: Option<PathBuf>,
    /// Seconds of measuring before, and again during
    #[arg(long, global = true, default_value_t = 20)]
    seconds: u64,
    #[command(subcommand)]
    siege: Siege,
}

#[derive(Debug, Subcommand)]
enum Siege {
    /// Connections that send their headers byte by byte, half to the api and half to the gateway
    Loris {
        #[arg(long, default_value_t = 5_000)]
        connections: usize,
    },
    /// Requests with bad tokens
    Flood {
        /// Requests a second, in all
        #[arg(long, default_value_t = 2_000)]
        rate: u32,
        /// A request waits for the answer to the last one of its address, as most tools do; without this it takes another
        /// connection, up to 128
        #[arg(long)]
        patient: bool,
    },
    /// Consumers that connect and read nothing, while one reads everything
    Slow {
        #[arg(long, default_value_t = 10_000)]
        consumers: usize,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let span = Duration::from_secs(args.seconds);
    println!("machine before: {}", server::load());
    match args.siege {
        Siege::Slow { consumers } => slow::run(args.server, consumers, span).await?,
        Siege::Loris { connections } => {
            let server = Besieged::start(args.server, true).await?;
            let legit = Legit::new(&server).await?;
            let before = legit.measure(span).await?;
            println!("before: {before}");
            let sink = sink::open().await?;
            let loris = Loris::open([sink, sink], connections).await;
            let beside = legit.measure(span).await?;
            println!("beside: {beside}");
            drop(loris);
            let loris = Loris::open([server.api, server.gateway], connections).await;
            println!("siege:  {} slow connections opened, {} refused at once", loris.opened(), loris.refused());
            let during = legit.measure(span).await?;
            println!("during: {during}");
            println!("siege:  {} of them still open at the end", loris.still_open());
            println!("ratio to before: {}", during.over(&before));
            println!("ratio to beside: {}", during.over(&beside));
        }
        Siege::Flood { rate, patient } => {
            let server = Besieged::start(args.server, true).await?;
            let legit = Legit::new(&server).await?;
            let before = legit.measure(span).await?;
            println!("before: {before}");
            let flood = Flood::begin(sink::open().await?, &server.token, rate, patient);
            let cpu_ms = server.cpu_ms();
            let beside = legit.measure(span).await?;
            let beside_ms = server.cpu_ms() - cpu_ms;
            println!("beside: {beside}");
            flood.end().await;
            let flood = Flood::begin(server.api, &server.token, rate, patient);
            let cpu_ms = server.cpu_ms();
            let during = legit.measure(span).await?;
            let during_ms = server.cpu_ms() - cpu_ms;
            println!("during: {during}");
            let (told, sent) = flood.end().await;
            println!("siege:  {told}");
            let each_us = during_ms.saturating_sub(beside_ms) as f64 * 1000.0 / sent.max(1) as f64;
            println!(
                "server: {beside_ms} ms of processor time beside, {during_ms} ms during: {each_us:.0} us a bad request"
            );
            println!("ratio to before: {}", during.over(&before));
            println!("ratio to beside: {}", during.over(&beside));
        }
    }
    println!("machine after: {}", server::load());
    Ok(())
}
