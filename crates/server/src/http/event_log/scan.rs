//! Reads the event log over all partitions, about in the order of time, from a place to the end as it was at the start.

use std::collections::VecDeque;

use evs_core::{Offset, Partition, Position};

use crate::app::App;
use crate::ports::PortResult;
use crate::ports::event_log::{LoggedEvent, PartitionRange};

/// Read ahead of each partition.
const READ_EVENTS: usize = 1024;
const READ_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(in crate::http) struct LogScan {
    app: App,
    tracks: Vec<Track>,
    /// Whether headers are shown, and so read.
    headers: bool,
}

#[derive(Debug)]
struct Track {
    partition: Partition,
    /// After what was handed out.
    next: Offset,
    /// After what was read.
    read_to: Offset,
    end: Offset,
    ahead: VecDeque<LoggedEvent>,
}

impl LogScan {
    /// Events taken at or after `since_ms`.
    pub(in crate::http) async fn since(app: &App, since_ms: i64) -> PortResult<Self> {
        let mut tracks = Vec::new();
        for range in app.log.partitions().await? {
            let from = match since_ms {
                i64::MIN => range.low,
                since_ms => app.log.offset_at(range.partition, since_ms).await?,
            };
            tracks.push(Track::new(range, from));
        }
        Ok(Self { app: app.clone(), tracks, headers: false })
    }

    /// The newest `count` of each partition.
    pub(in crate::http) async fn newest(app: &App, count: u64) -> PortResult<Self> {
        let ranges = app.log.partitions().await?;
        let track = |range: PartitionRange| Track::new(range, Offset(range.high.0.saturating_sub(count)));
        Ok(Self { app: app.clone(), tracks: ranges.into_iter().map(track).collect(), headers: false })
    }

    /// From these places on. Partitions without a place: none of their events if `only`, else all.
    pub(in crate::http) async fn at(app: &App, places: &[Position], only: bool) -> PortResult<Self> {
        let ranges = app.log.partitions().await?.into_iter();
        let track = |range: PartitionRange| match places.iter().find(|place| place.partition == range.partition) {
            Some(place) => Some(Track::new(range, place.offset)),
            None if only => None,
            None => Some(Track::new(range, range.low)),
        };
        Ok(Self { app: app.clone(), tracks: ranges.filter_map(track).collect(), headers: false })
    }

    /// With what producers put beside the events.
    pub(super) fn with_headers(self) -> Self {
        Self { headers: true, ..self }
    }

    /// The oldest of what the partitions have next; `None` at the end.
    pub(in crate::http) async fn next(&mut self) -> PortResult<Option<(Partition, LoggedEvent)>> {
        for track in &mut self.tracks {
            track.fill(&self.app, self.headers).await?;
        }
        let heads = self.tracks.iter_mut().filter(|track| !track.ahead.is_empty());
        let oldest = heads.min_by_key(|track| track.ahead.front().map(|head| head.time_ms));
        Ok(oldest.and_then(|track| {
            let logged = track.ahead.pop_front()?;
            track.next = Offset(logged.offset.0 + 1);
            Some((track.partition, logged))
        }))
    }

    /// Whether the end, as it was at the start, is reached.
    pub(in crate::http) fn is_done(&self) -> bool {
        self.tracks
            .iter()
            .all(|track| track.next >= track.end || (track.read_to >= track.end && track.ahead.is_empty()))
    }

    /// Looks for the end again.
    pub(super) async fn extend(&mut self) -> PortResult<()> {
        for range in self.app.log.partitions().await? {
            match self.tracks.iter_mut().find(|track| track.partition == range.partition) {
                Some(track) => track.end = range.high,
                // New while we read: nothing of it was missed.
                None => self.tracks.push(Track::new(range, range.low)),
            }
        }
        Ok(())
    }

    /// How many offsets lie before the end.
    pub(super) fn behind(&self) -> u64 {
        self.tracks.iter().map(|track| track.end.0.saturating_sub(track.next.0)).sum()
    }

    /// Goes on at the end; answers how many offsets it left out.
    pub(super) fn skip_to_end(&mut self) -> u64 {
        let skipped = self.behind();
        for track in &mut self.tracks {
            track.ahead.clear();
            (track.next, track.read_to) = (track.end, track.end);
        }
        skipped
    }

    /// Where to go on, as text.
    pub(in crate::http) fn bookmark(&self) -> String {
        let places = self.tracks.iter().map(|track| super::place(track.partition, track.next));
        places.collect::<Vec<_>>().join(",")
    }
}

/// What [`LogScan::bookmark`] wrote.
pub(super) fn parse_bookmark(text: &str) -> Option<Vec<Position>> {
    text.split(',').map(|place| place.parse().ok()).collect()
}

impl Track {
    fn new(range: PartitionRange, from: Offset) -> Self {
        let from = from.max(range.low);
        Self { partition: range.partition, next: from, read_to: from, end: range.high, ahead: VecDeque::new() }
    }

    async fn fill(&mut self, app: &App, headers: bool) -> PortResult<()> {
        while self.ahead.is_empty() && self.read_to < self.end {
            let (log, partition, from) = (&app.log, self.partition, self.read_to);
            let read = match headers {
                true => log.read_with_headers(partition, from, READ_EVENTS, READ_BYTES).await?,
                false => log.read(partition, from, READ_EVENTS, READ_BYTES).await?,
            };
            let end = self.end;
            self.ahead.extend(read.events.into_iter().filter(|logged| logged.offset < end));
            // Without progress there is nothing up to the end, such as behind the last event of a log with holes.
            let next = if read.next > self.read_to { read.next } else { self.end };
            self.read_to = next.min(self.end).max(self.read_to);
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
