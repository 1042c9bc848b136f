//! The filters, the events, and by a naive count of its own what everybody must get.

use std::io::Write as _;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::receive::now_us;
use crate::server::{Http, Server};

const TYPES: usize = 20;
const TIERS: [&str; 2] = ["free", "premium"];

/// Batches per second at a fixed rate.
const BATCHES_PER_S: u32 = 100;

/// Events of a batch at the most there is.
const BATCH_MAX: u32 = 500;

pub(crate) enum Rate {
    PerSecond(u32),
    Max,
}

struct Wish {
    kind: usize,
    tier: Option<usize>,
    min_amount: u32,
}

pub(crate) struct Load {
    wishes: Vec<Wish>,
}

pub(crate) struct Report {
    pub(crate) events: u64,
    pub(crate) posts: u64,
    pub(crate) deliveries: u64,
    pub(crate) frame_bytes: usize,
    /// p50 and p99 of the time to an acknowledged POST.
    pub(crate) ack_ms: [f64; 2],
    /// By how much the schedule was missed in the end.
    pub(crate) late: Duration,
}

impl Load {
    /// 1.6 % of events match each: a twentieth of them times a third, or times a half times two thirds.
    pub(crate) fn new(sockets: usize) -> Self {
        let wish = |number: usize| {
            let spread = (number / TYPES % 41) as u32;
            let (tier, min_amount) =
                if number.is_multiple_of(2) { (None, 660 + spread) } else { (Some(number / 2 % 2), 340 + spread) };
            Wish { kind: number % TYPES, tier, min_amount }
        };
        Self { wishes: (0..sockets).map(wish).collect() }
    }

    pub(crate) fn create_filters(&self, server: &Server) {
        let mut lines = Vec::new();
        for (number, wish) in self.wishes.iter().enumerate() {
            let tiers = wish.tier.map(|tier| format!("\"{}\"", TIERS[tier])).unwrap_or_default();
            let line = format!(
                r#"{{"subscriber_id":"bench_{number}","event_types":["type_{}"],"user_tiers":[{tiers}],"min_amount":{}}}"#,
                wish.kind, wish.min_amount
            );
            writeln!(lines, "{line}").expect("memory");
        }
        let (status, text) = Http::connect(server.api).post("/filters/import?wait=active", &lines);
        assert!(status / 100 == 2, "{status}: {text}");
    }

    pub(crate) fn run(&self, server: &Server, rate: &Rate, span: Duration) -> Report {
        let mut by_kind: Vec<Vec<&Wish>> = (0..TYPES).map(|_| Vec::new()).collect();
        self.wishes.iter().for_each(|wish| by_kind[wish.kind].push(wish));
        let mut dice = SmallRng::seed_from_u64(1);
        let mut http = Http::connect(server.api);
        let started = Instant::now();
        let mut report =
            Report { events: 0, posts: 0, deliveries: 0, frame_bytes: 0, ack_ms: [0.0; 2], late: Duration::ZERO };
        let (mut acks, mut body) = (Vec::new(), Vec::new());
        while started.elapsed() < span {
            let batch = match rate {
                Rate::Max => BATCH_MAX,
                Rate::PerSecond(rate) => {
                    let due = started + Duration::from_secs(1) * report.posts as u32 / BATCHES_PER_S;
                    report.late = Instant::now().saturating_duration_since(due);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    (rate / BATCHES_PER_S).max(1)
                }
            };
            body.clear();
            for _ in 0..batch {
                let (kind, tier, amount) =
                    (dice.random_range(0..TYPES), dice.random_range(0..TIERS.len()), dice.random_range(0..1000_u32));
                report.events += 1;
                let wanted = |wish: &&&Wish| wish.tier.is_none_or(|own| own == tier) && amount >= wish.min_amount;
                report.deliveries += by_kind[kind].iter().filter(wanted).count() as u64;
                let from = body.len();
                write!(
                    body,
                    concat!(
                        r#"{{"event_id":"e{}","user_id":"u{}","event_type":"type_{}","user_tier":"{}","amount":{},"#,
                        r#""sent_us":{},"currency":"EUR","device":{{"os":"iOS 18.1","app":"4.2.0"}},"#,
                        r#""session":"a3f1c9e0-77aa-4c1e-9d7e-51a6c1f0b2d4","note":"as long as events usually are, or so"}}"#
                    ),
                    report.events,
                    dice.random_range(0..10_000),
                    kind,
                    TIERS[tier],
                    amount,
                    now_us()
                )
                .expect("memory");
                report.frame_bytes = body.len() - from + 48;
                body.push(b'\n');
            }
            let posted = Instant::now();
            let (status, text) = http.post("/events", &body);
            assert_eq!(status, 202, "{text}");
            acks.push(posted.elapsed().as_secs_f64() * 1e3);
            report.posts += 1;
        }
        acks.sort_by(f64::total_cmp);
        report.ack_ms = [acks[acks.len() / 2], acks[acks.len() * 99 / 100]];
        report
    }
}
