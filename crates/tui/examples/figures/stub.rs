//! As much of a server as the figures need: a report a second, events at a rate, pages of subscribers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use evs_api::Page;
use evs_api::stats::Stats;
use evs_api::subscribers::{Subscriber, SubscriberState};
use evs_tui::clock::now_ms;

pub(crate) struct Stub {
    port: u16,
}

impl Stub {
    /// It serves until the process ends.
    pub(crate) fn start(events_per_s: u64, subscribers: usize) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that leaves ends its thread with an error.
                std::thread::spawn(move || serve(stream, events_per_s, subscribers));
            }
        });
        Ok(Self { port })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn serve(stream: TcpStream, events_per_s: u64, subscribers: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut out = stream;
    loop {
        let Some(request) = lines.next().transpose()? else { return Ok(()) };
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
        match path.split('?').next().unwrap_or("/") {
            "/stats/stream" => return reports(&mut out, events_per_s, subscribers),
            "/events/stream" => return events(&mut out, events_per_s),
            "/log/stream" => {
                open(&mut out)?;
                std::thread::park();
            }
            "/log" => json(&mut out, r#"{"items":[]}"#)?,
            "/subscribers" => json(&mut out, &page(&path, subscribers))?,
            _ => out.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")?,
        }
    }
}

fn open(out: &mut TcpStream) -> std::io::Result<()> {
    out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: open\n\n")
}

fn json(out: &mut TcpStream, body: &str) -> std::io::Result<()> {
    write!(out, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn reports(out: &mut TcpStream, events_per_s: u64, subscribers: usize) -> std::io::Result<()> {
    open(out)?;
    loop {
        let stats = Stats {
            time_ms: now_ms(),
            uptime_s: 60.0,
            mode: "stub".into(),
            events_in_per_s: events_per_s as f64,
            subscribers: subscribers as u64,
            ..Stats::default()
        };
        write!(out, "event: stats\ndata: {}\n\n", serde_json::to_string(&stats)?)?;
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// By an absolute schedule, so that a slow moment is made up for.
fn events(out: &mut TcpStream, per_s: u64) -> std::io::Result<()> {
    open(out)?;
    let start = Instant::now();
    let mut n: u64 = 0;
    loop {
        let due = (start.elapsed().as_secs_f64() * per_s as f64) as u64;
        let mut chunk = String::new();
        let now = now_ms();
        while n < due {
            chunk.push_str(&format!(
                "event: event\nid: 0:{n}\ndata: {{\"position\":\"0:{n}\",\"time_ms\":{now},\"data\":{{\"event_id\":\"stub-{n}\",\
                 \"user_id\":\"user_{}\",\"event_type\":\"stub-purchase\",\"user_tier\":\"premium\",\"amount\":{}.5,\
                 \"country\":\"DE\",\"device\":{{\"os\":\"iOS 18.2\",\"app\":\"web\"}},\"session\":{{\"id\":\"sb4f549\"}}}}}}\n\n",
                n % 1000,
                n % 977
            ));
            n += 1;
        }
        out.write_all(chunk.as_bytes())?;
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn page(path: &str, total: usize) -> String {
    let from: usize =
        path.split(['?', '&']).find_map(|p| p.strip_prefix("page=")).and_then(|p| p.parse().ok()).unwrap_or(0);
    let items = (from..total.min(from + 200)).map(|n| Subscriber {
        id: format!("subscriber_{n}"),
        state: SubscriberState::Live,
        filters: 1,
        connections: 1,
        top: 1_000_000,
        acked: n as u64,
        lag_events: (total - n) as u64,
        lag_s: Some(n as f64 / 10.0),
        delivered_per_s: 12.5,
        data_loss_in_s: None,
        last_ack_ms: Some(now_ms()),
        lost: 0,
        shard: 0,
        slot: n as u32,
    });
    let page = Page {
        items: items.collect(),
        next: (from + 200 < total).then(|| (from + 200).to_string()),
        total: Some(total as u64),
    };
    serde_json::to_string(&page).unwrap_or_default()
}
