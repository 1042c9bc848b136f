//! Filtered fan-out through the whole server: `cargo bench -p evs-server --bench fanout -- --sockets 1000 --rate 6000`.
//!
//! The server is a process of its own with its durable store. Every socket belongs to a subscriber with its own filter
//! (one of 20 types, a tier or any, an amount threshold; 1.6 % of events match one). This process sends events at a
//! fixed rate, receives with one thread and one epoll, and acks. In the same run it measures the floor: one write(2)
//! of the same size to one of as many sockets.

mod floor;
mod load;
mod receive;
mod server;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use load::{Load, Rate};
use receive::{Counters, Receivers};
use server::Server;

struct Args {
    sockets: usize,
    rate: Rate,
    seconds: u64,
    /// Sockets offer the subprotocol and ack every 64 deliveries; otherwise they only listen.
    acks: bool,
    shards: u16,
}

fn main() {
    let args = args();
    let server = Server::start(args.shards);
    let load = Load::new(args.sockets);
    load.create_filters(&server);
    std::thread::sleep(Duration::from_secs(1));
    let before_kib = server.resident_kib();
    let counters = Arc::new(Counters::default());
    let mut receivers = Receivers::connect(&server, args.sockets, args.acks, counters.clone());
    let receiving = std::thread::spawn(move || receivers.run());
    // All welcomed and caught up, so that what is measured is idle.
    wait("caught up", || counters.caught_up.load(Ordering::Relaxed) >= args.sockets as u64);
    let idle_from = (Instant::now(), server.cpu());
    std::thread::sleep(Duration::from_secs(4));
    let idle_kib = (server.resident_kib() - before_kib) as f64 / args.sockets as f64;
    let idle_cpu = (server.cpu() - idle_from.1).as_secs_f64() / idle_from.0.elapsed().as_secs_f64() * 100.0;

    let (cpu, started) = (server.cpu(), Instant::now());
    let (writes, sent) = (server.metric("evs_socket_writes_total"), server.metric("evs_deliveries_sent_total"));
    let report = load.run(&server, &args.rate, Duration::from_secs(args.seconds));
    let expected = report.deliveries;
    let drained = wait_for(Duration::from_secs(60), || counters.received.load(Ordering::Relaxed) >= expected);
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = server.cpu() - cpu;
    let received = counters.received.load(Ordering::Relaxed);
    let writes = server.metric("evs_socket_writes_total") - writes;
    let sent = server.metric("evs_deliveries_sent_total") - sent;
    counters.stop.store(true, Ordering::Relaxed);
    let receivers_cpu = receiving.join().expect("the receiver");
    let latency = counters.latencies();
    let floor = floor::measure(args.sockets, report.frame_bytes);

    println!("sockets               {}", args.sockets);
    println!(
        "events                {} ({:.0}/s, {} POSTs)",
        report.events,
        report.events as f64 / elapsed,
        report.posts
    );
    println!("deliveries            {received} ({:.0}/s)", received as f64 / elapsed);
    println!("missing               {}{}", expected - received.min(expected), if drained { "" } else { " (gave up)" });
    println!("out of order          {}", counters.disorder.load(Ordering::Relaxed));
    println!("latency ms            p50 {:.2}  p99 {:.2}  max {:.2}", latency[0], latency[1], latency[2]);
    println!("POST ack ms           p50 {:.2}  p99 {:.2}", report.ack_ms[0], report.ack_ms[1]);
    println!("behind schedule ms    {:.0}", report.late.as_secs_f64() * 1e3);
    println!("server cpu            {:.2} us/delivery ({:.0} % of a core)", us(cpu, received), percent(cpu, elapsed));
    println!("receiver cpu          {:.2} us/delivery", us(receivers_cpu, received));
    println!("deliveries per write  {:.2}", sent / writes.max(1.0));
    println!("floor, one write(2)   {floor:.2} us at {} bytes", report.frame_bytes);
    println!("idle memory           {idle_kib:.2} KiB/socket (server process, resident)");
    println!("idle cpu              {idle_cpu:.2} % of a core");
    if received != expected || counters.disorder.load(Ordering::Relaxed) > 0 {
        std::process::exit(1);
    }
}

fn us(cpu: Duration, count: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / count.max(1) as f64
}

fn percent(cpu: Duration, elapsed: f64) -> f64 {
    cpu.as_secs_f64() / elapsed * 100.0
}

fn args() -> Args {
    let mut args = Args { sockets: 1000, rate: Rate::PerSecond(6000), seconds: 10, acks: true, shards: 1 };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut value = || given.next().unwrap_or_else(|| panic!("{name} needs a value"));
        match name.as_str() {
            // cargo's own.
            "--bench" => {}
            "--sockets" => args.sockets = value().parse().expect("a number of sockets"),
            "--seconds" => args.seconds = value().parse().expect("a number of seconds"),
            "--shards" => args.shards = value().parse().expect("a number of shards"),
            "--listen" => args.acks = false,
            "--rate" => {
                let value = value();
                let number = || value.parse().expect("events per second, or max");
                args.rate = if value == "max" { Rate::Max } else { Rate::PerSecond(number()) };
            }
            other => panic!("{other} is none of --sockets, --rate, --seconds, --shards, --listen"),
        }
    }
    args
}

fn wait(what: &str, condition: impl Fn() -> bool) {
    assert!(wait_for(Duration::from_secs(60), condition), "not in time: {what}");
}

fn wait_for(deadline: Duration, condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    condition()
}
