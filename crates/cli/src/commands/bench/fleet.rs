//! The subscribers: each reads, acks, and notes what it got.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use evs_client::api::filters::FilterSpec;
use evs_client::{Ack, Client, Options, StreamItem};
use evs_core::Event;
use hdrhistogram::Histogram;
use tokio::task::JoinHandle;

use crate::commands::histogram_us;
use crate::exit::Failure;

/// What one subscriber got: a count, and a sum of the events' numbers, which tells a lost and a doubled event that
/// would cancel out in the count.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) count: AtomicU64,
    pub(super) sum: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Fleet {
    clock: Instant,
    pub(super) connected: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) reconnects: AtomicU64,
    pub(super) by_subscriber: Vec<Received>,
    latencies_us: Mutex<Option<Histogram<u64>>>,
    error: Mutex<Option<Failure>>,
}

impl Fleet {
    pub(super) fn new(subscribers: usize, clock: Instant) -> Self {
        Self {
            clock,
            connected: AtomicU64::new(0),
            received: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            by_subscriber: (0..subscribers).map(|_| Received::default()).collect(),
            latencies_us: Mutex::new(histogram_us()),
            error: Mutex::new(None),
        }
    }

    pub(super) fn connect(
        self: &Arc<Self>,
        client: &Client,
        specs: &[FilterSpec],
    ) -> Result<Vec<JoinHandle<()>>, Failure> {
        let mut tasks = Vec::with_capacity(specs.len());
        for (at, spec) in specs.iter().enumerate() {
            let options = Options { ack: Ack::OnDelivery, ..Options::default() };
            let subscription = client.subscribe(&spec.subscriber_id, options)?;
            tasks.push(tokio::spawn(self.clone().read(at, subscription)));
        }
        Ok(tasks)
    }

    async fn read(self: Arc<Self>, at: usize, mut subscription: evs_client::Subscription) {
        let mut connected = false;
        while let Some(item) = subscription.next().await {
            match item {
                Ok(StreamItem::Event(delivery)) => self.note(at, delivery.data.get()),
                Ok(StreamItem::Connected(_)) => {
                    let counter =
                        if std::mem::replace(&mut connected, true) { &self.reconnects } else { &self.connected };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                Ok(StreamItem::Gap(_)) => {
                    self.gaps.fetch_add(1, Ordering::Relaxed);
                }
                Ok(_) => {}
                Err(error) => {
                    self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.into());
                }
            }
        }
    }

    fn note(&self, at: usize, data: &str) {
        let now_us = u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX);
        let event = Event::trusted(Bytes::copy_from_slice(data.as_bytes()));
        let number = |field| event.text(field).and_then(|text| text.parse::<u64>().ok());
        let received = &self.by_subscriber[at];
        received.count.fetch_add(1, Ordering::Relaxed);
        received.sum.fetch_add(number("bench_n").unwrap_or_default(), Ordering::Relaxed);
        if let (Some(sent_us), Some(histogram)) =
            (number("bench_us"), &mut *self.latencies_us.lock().unwrap_or_else(PoisonError::into_inner))
        {
            histogram.saturating_record(now_us.saturating_sub(sent_us));
        }
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn take_error(&self) -> Option<Failure> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn latencies(&self) -> Option<Histogram<u64>> {
        self.latencies_us.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
