//! A server under siege, and what its legitimate clients notice: slow-loris connections and a flood of bad tokens
//! beside them, or thousands of consumers that read nothing. Prints figures before, while the same attack goes to a sink
//! beside the server (attacker and clients share the machine's cores with it), and during; judges nothing.
//!
//!     cargo build --release -p evs-server --bin evs-server
//!     cargo run --release -p evs-server --example siege -- loris --connections 5000
//!     cargo run --release -p evs-server --example siege -- flood --rate 2000
//!     cargo run --release -p evs-server --example siege -- slow --consumers 10000

mod attack;
mod legit;
mod server;
mod sink;
mod slow;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use legit::Legit;
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
            let loris = attack::Loris::open([sink, sink], connections).await;
            let beside = legit.measure(span).await?;
            println!("beside: {beside}");
            drop(loris);
            let loris = attack::Loris::open([server.api, server.gateway], connections).await;
            println!("siege:  {} slow connections opened, {} refused at once", loris.opened(), loris.refused());
            let during = legit.measure(span).await?;
            println!("during: {during}");
            println!("siege:  {} of them still open at the end", loris.still_open());
            println!("ratio to before: {}", during.over(&before));
            println!("ratio to beside: {}", during.over(&beside));
        }
        Siege::Flood { rate } => {
            let server = Besieged::start(args.server, true).await?;
            let legit = Legit::new(&server).await?;
            let before = legit.measure(span).await?;
            println!("before: {before}");
            let flood = attack::Flood::begin(sink::open().await?, &server.token, rate);
            let beside = legit.measure(span).await?;
            println!("beside: {beside}");
            flood.end().await;
            let flood = attack::Flood::begin(server.api, &server.token, rate);
            let during = legit.measure(span).await?;
            println!("during: {during}");
            println!("siege:  {}", flood.end().await);
            println!("ratio to before: {}", during.over(&before));
            println!("ratio to beside: {}", during.over(&beside));
        }
    }
    println!("machine after: {}", server::load());
    Ok(())
}
