//! Speed past one machine, on real Kafka, Redis and PostgreSQL, each figure beside its peer of the same run.
//!
//!     cargo bench -p evs-server --bench distributed                  # all parts
//!     cargo bench -p evs-server --bench distributed -- redis latency # some of them
//!
//! The services are those of `scripts/services`, which is called if the environment does not say where they are; Redis
//! is a server of its own, so that its time on the processor and its slow log are ours alone.

mod burst;
mod filters;
mod latency;
mod reconnect;
mod redis_cpu;
mod services;
mod sockets;
mod throughput;

const PARTS: [&str; 6] = ["redis", "latency", "throughput", "burst", "reconnect", "filters"];

/// `--scale 0.1` makes everything a tenth as large: for a look at whether it works.
#[derive(Clone, Copy)]
struct Scale(f64);

impl Scale {
    fn of(self, count: u64) -> u64 {
        ((count as f64 * self.0) as u64).max(1)
    }
}

#[tokio::main]
async fn main() {
    let mut scale = Scale(1.0);
    let mut parts = Vec::new();
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--scale" => scale = Scale(arguments.next().and_then(|text| text.parse().ok()).expect("--scale 0.1")),
            part if PARTS.contains(&part) => parts.push(part.to_owned()),
            other => panic!("{other:?} is none of {PARTS:?} and not --scale"),
        }
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    services::find();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|given| given == part);
    println!("load before: {}", load());
    if wanted("redis") {
        redis_cpu::run(scale).await;
    }
    if wanted("latency") {
        latency::run(scale).await;
    }
    if wanted("throughput") {
        throughput::run(scale).await;
    }
    if wanted("burst") {
        burst::run(scale).await;
    }
    if wanted("reconnect") {
        reconnect::run(scale).await;
    }
    if wanted("filters") {
        filters::run(scale).await;
    }
    println!("load after: {}", load());
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

fn now_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_micros()).expect("a clock")
}

/// p50, p99 and the longest, in milliseconds.
fn quantiles(mut all_us: Vec<u64>) -> [f64; 3] {
    all_us.sort_unstable();
    let at = |share: f64| all_us.get(((all_us.len() as f64 * share) as usize).min(all_us.len().saturating_sub(1)));
    [0.5, 0.99, 1.0].map(|share| at(share).copied().unwrap_or_default() as f64 / 1e3)
}
