//! A legitimate client: publishes, lists, and waits for its own events on a socket, at a steady pace.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use evs_client::api::filters::FilterSpec;
use evs_client::{Ack, Client, Config, Options, StreamItem, Token};
use tokio::time::interval;

use crate::server::Besieged;

/// Between two looks: 50 a second.
const EVERY: Duration = Duration::from_millis(20);

const SUBSCRIBER: &str = "legit";

pub(crate) struct Legit {
    client: Client,
}

/// Latencies in microseconds, sorted.
pub(crate) struct Figures {
    publish: Vec<u64>,
    list: Vec<u64>,
    deliver: Vec<u64>,
    failed: u64,
}

impl Legit {
    pub(crate) async fn new(server: &Besieged) -> anyhow::Result<Self> {
        let config =
            Config::new(&format!("http://{}", server.api))?.with_gateway(&format!("http://{}", server.gateway))?;
        let config =
            if server.token.is_empty() { config } else { config.with_token(Token::Text(server.token.clone())) };
        let client = Client::new(config)?;
        let spec =
            FilterSpec { subscriber_id: SUBSCRIBER.into(), event_types: vec!["legit".into()], ..FilterSpec::default() };
        client.create_filter(&spec, Some(Duration::from_secs(10))).await?;
        Ok(Self { client })
    }

    /// Each look publishes an event, waits for it on the socket, and lists filters.
    pub(crate) async fn measure(&self, span: Duration) -> anyhow::Result<Figures> {
        let options = Options { ack: Ack::OnDelivery, ..Options::default() };
        let mut stream = self.client.subscribe(SUBSCRIBER, options)?;
        let mut figures = Figures { publish: Vec::new(), list: Vec::new(), deliver: Vec::new(), failed: 0 };
        let (began, mut every) = (Instant::now(), interval(EVERY));
        let mut number = 0_u64;
        while began.elapsed() < span {
            every.tick().await;
            number += 1;
            let asked = Instant::now();
            let body = format!("{{\"event_type\":\"legit\",\"number\":{number}}}");
            match self.client.publish(body, None).await {
                Ok(_) => figures.publish.push(us(asked)),
                Err(_) => {
                    figures.failed += 1;
                    continue;
                }
            }
            loop {
                match stream.next().await.context("the stream ended")?? {
                    StreamItem::Event(delivery) if delivery.data.get().contains(&format!("\"number\":{number}}}")) => {
                        break;
                    }
                    StreamItem::Disconnected { .. } => figures.failed += 1,
                    _ => {}
                }
            }
            figures.deliver.push(us(asked));
            let asked = Instant::now();
            match self.client.filters(None, Some(10), None).await {
                Ok(_) => figures.list.push(us(asked)),
                Err(_) => figures.failed += 1,
            }
        }
        stream.close().await;
        for latencies in [&mut figures.publish, &mut figures.list, &mut figures.deliver] {
            latencies.sort_unstable();
        }
        Ok(figures)
    }
}

fn us(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn at(sorted: &[u64], share: f64) -> f64 {
    let at = ((sorted.len() as f64) * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |us| *us as f64 / 1000.0)
}

impl Figures {
    fn each(&self) -> [(&'static str, &[u64]); 3] {
        [("publish", &self.publish), ("post to socket", &self.deliver), ("list", &self.list)]
    }

    /// How these relate to those of before.
    pub(crate) fn over(&self, before: &Self) -> String {
        let each = self.each().into_iter().zip(before.each());
        let text = each.map(|((name, now), (_, then))| {
            let ratio = |share| at(now, share) / at(then, share).max(f64::EPSILON);
            format!("{name} p50 x{:.2} p99 x{:.2}", ratio(0.5), ratio(0.99))
        });
        text.collect::<Vec<_>>().join(", ")
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (name, sorted) in self.each() {
            write!(f, "{name} p50 {:.2} ms p99 {:.2} ms, ", at(sorted, 0.5), at(sorted, 0.99))?;
        }
        write!(f, "{} looks, {} failed", self.publish.len(), self.failed)
    }
}
