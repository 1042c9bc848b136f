//! How far a stream has come: what is new, what was seen before, what is missing, and the cursor to resume by. Pure.

use std::sync::Arc;

use evs_api::frames::{EventFrame, Gap, GapReason, Resumed, Welcome};
use evs_core::cursor::raise_seen;
use evs_core::{Cursor, Offset, Partition, Position, Seq};

#[derive(Clone, Debug)]
pub struct Progress {
    /// The last checkpoint, or what the caller stored; the text is kept for cursors of a newer server.
    checkpoint: Option<(String, Option<Cursor>)>,
    epoch: Option<Arc<str>>,
    /// How often the numbers began anew within an epoch, because the consumer was moved or its cursor was not taken.
    generation: u32,
    /// The newest welcome.
    welcomed: Option<Welcome>,
    /// The last seq of this epoch that was handed on or told as a gap.
    last: u64,
    /// The server announced a gap frame that has not come yet.
    gap_announced: bool,
    /// A gap of unknown size was told: any number may come next.
    any_next: bool,
    /// Deliveries of the queue have come, so that a backfill is over.
    live: bool,
    /// Where a hole was met that resuming did not fill.
    hole_at: Option<u64>,
    /// Per partition the offset after the last event that was handed on: what a cursor says beyond its checkpoint, and
    /// what is new in a backfill, which has no seq.
    seen: Vec<(Partition, Offset)>,
}

/// What an event frame is.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    New,
    /// It was handed on before.
    Seen,
    /// Some before it are missing; resume to get them.
    Hole,
    /// Some before it are missing, and resuming did not bring them.
    NewAfter(Gap),
}

impl Progress {
    /// `cursor` is what the caller stored.
    #[must_use]
    pub fn new(cursor: Option<String>) -> Self {
        let parsed = cursor.as_ref().and_then(|text| text.parse::<Cursor>().ok());
        let (epoch, last) = match &parsed {
            Some(cursor) => (Some(cursor.epoch.to_string().into()), cursor.seq.0),
            None => (None, 0),
        };
        let seen = parsed.as_ref().map_or_else(Vec::new, |cursor| cursor.seen.clone());
        Self {
            checkpoint: cursor.map(|text| (text, parsed)),
            epoch,
            generation: 0,
            welcomed: None,
            last,
            gap_announced: false,
            any_next: false,
            live: false,
            hole_at: None,
            seen,
        }
    }

    /// Begins a connection. The answer is a gap that the server did not tell of.
    pub fn welcome(&mut self, welcome: &Welcome) -> Option<Gap> {
        self.welcomed = Some(welcome.clone());
        self.any_next = false;
        self.gap_announced = matches!(welcome.resumed, Resumed::Gap | Resumed::NewEpoch);
        let before_next = welcome.next.saturating_sub(1);
        if self.epoch.as_deref() != Some(&welcome.epoch)
            && let Some(cursor) = self.cursor()
        {
            // How far it came in the epoch that ends: a queue that is rolled back twice to one image has that epoch's
            // acks again, and a cursor that fell behind them would read as a gap.
            let parsed = cursor.parse().ok();
            self.checkpoint = Some((cursor, parsed));
        }
        if let Some(cursor) = &welcome.cursor
            && (self.checkpoint.is_none() || self.epoch.as_deref() != Some(&welcome.epoch))
        {
            self.checkpoint = Some((cursor.clone(), cursor.parse().ok()));
        }
        if self.epoch.as_deref() != Some(&welcome.epoch) {
            self.epoch = Some(welcome.epoch.as_str().into());
            self.last = before_next;
            self.hole_at = None;
            return None;
        }
        if welcome.cursor.is_none() && matches!(welcome.resumed, Resumed::Backfill | Resumed::NewEpoch) {
            // What lies between comes from the event log.
            self.last = self.last.max(before_next);
        }
        let unexplained = before_next > self.last && !self.gap_announced;
        unexplained.then(|| self.skip_to(before_next))
    }

    /// What the server says of the numbers: an operator moved the consumer, so that older ones come again, or the cursor
    /// was not taken, so that what it said means nothing here.
    pub fn notice(&mut self, code: &str) {
        let welcomed = match code {
            "moved" => None,
            "foreign_cursor" | "future_cursor" => self.welcomed.take(),
            _ => return,
        };
        *self = Self { generation: self.generation + 1, live: self.live, ..Self::new(None) };
        if let Some(welcome) = welcomed {
            self.welcome(&welcome);
        }
    }

    /// Which numbers acks are of, within an epoch.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    pub fn event(&mut self, frame: &EventFrame) -> Verdict {
        let Some(seq) = frame.seq else { return self.backfill_event(frame) };
        self.live = true;
        if seq <= self.last {
            return Verdict::Seen;
        }
        let position = position(frame.position.as_deref());
        // What lies between `after` and `seq` was left out on purpose.
        let follows = frame.after.unwrap_or(seq - 1) <= self.last;
        if follows || self.any_next {
            self.advance(seq, position);
            self.gap_announced = false;
            self.any_next = false;
            return Verdict::New;
        }
        if self.gap_announced || self.hole_at == Some(self.last) {
            let gap = self.skip_to(seq - 1);
            self.advance(seq, position);
            return Verdict::NewAfter(gap);
        }
        self.hole_at = Some(self.last);
        Verdict::Hole
    }

    /// The gap, if it is news.
    pub fn gap(&mut self, gap: Gap) -> Option<Gap> {
        self.live = true;
        let announced = std::mem::take(&mut self.gap_announced);
        let news = announced || gap.to.is_none_or(|to| to > self.last);
        match gap.to {
            Some(to) => self.last = self.last.max(to),
            None => self.any_next = true,
        }
        news.then_some(gap)
    }

    pub fn checkpoint(&mut self, seq: u64, cursor: &str) {
        self.checkpoint = Some((cursor.to_owned(), cursor.parse().ok()));
        self.last = self.last.max(seq);
    }

    pub fn caught_up(&mut self, seq: u64) {
        self.live = true;
        self.last = self.last.max(seq);
    }

    /// All up to `to` is done with, and what the event log has up to `position`.
    pub fn advance(&mut self, to: u64, position: Option<Position>) {
        self.last = self.last.max(to);
        if let Some(Position { partition, offset }) = position {
            raise_seen(&mut self.seen, partition, Offset(offset.0 + 1));
        }
    }

    /// The epoch of the connection.
    #[must_use]
    pub fn epoch(&self) -> Option<&Arc<str>> {
        self.epoch.as_ref()
    }

    /// The last seq of the epoch that is done with.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether a backfill is over.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether the server has ever welcomed us.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.epoch.is_some() || self.generation > 0
    }

    /// What to resume by: the last checkpoint, brought forward to the last delivery within its epoch, and to all that
    /// was seen of the event log, which holds across epochs.
    #[must_use]
    pub fn cursor(&self) -> Option<String> {
        let (text, parsed) = self.checkpoint.as_ref()?;
        let Some(mut cursor) = parsed.clone() else { return Some(text.clone()) };
        if self.epoch.as_deref() == Some(cursor.epoch.to_string().as_str()) {
            cursor.seq = cursor.seq.max(Seq(self.last));
        }
        for (partition, offset) in &self.seen {
            cursor.raise_seen(*partition, *offset);
        }
        Some(cursor.to_string())
    }

    fn backfill_event(&mut self, frame: &EventFrame) -> Verdict {
        let Some(Position { partition, offset }) = position(frame.position.as_deref()) else { return Verdict::New };
        if self.seen.iter().any(|(of, seen)| *of == partition && *seen > offset) {
            return Verdict::Seen;
        }
        raise_seen(&mut self.seen, partition, Offset(offset.0 + 1));
        Verdict::New
    }

    fn skip_to(&mut self, to: u64) -> Gap {
        let gap = Gap { from: self.last + 1, to: Some(to), reason: GapReason::DataLoss };
        self.last = to;
        self.gap_announced = false;
        gap
    }
}

/// `partition:offset`, where the server tells one.
#[must_use]
pub fn position(text: Option<&str>) -> Option<Position> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use evs_core::{Epoch, Shard, Slot};

    use super::*;

    const EPOCH: &str = "00000000000000aa";

    fn welcome(epoch: &str, next: u64, resumed: Resumed) -> Welcome {
        Welcome {
            cursor: None,
            subscriber: "user_1".into(),
            consumer: "default".into(),
            epoch: epoch.into(),
            next,
            top: next + 10,
            resumed,
            window_events: 256,
            window_bytes: 1 << 20,
            ping_s: 25,
            server: "evs".into(),
        }
    }

    fn event(seq: u64) -> EventFrame {
        EventFrame { seq: Some(seq), after: None, position: None, filters: vec![1], data: raw() }
    }

    fn raw() -> Box<serde_json::value::RawValue> {
        serde_json::value::RawValue::from_string("{}".into()).unwrap()
    }

    fn cursor(epoch: u64, seq: u64) -> String {
        let seen = vec![(Partition(0), Offset(seq))];
        Cursor { shard: Shard(0), slot: Slot(1), epoch: Epoch(epoch), seq: Seq(seq), seen }.to_string()
    }

    #[test]
    fn what_comes_twice_is_dropped() {
        let mut progress = Progress::new(None);
        assert_eq!(progress.welcome(&welcome(EPOCH, 1, Resumed::New)), None);
        assert_eq!(progress.event(&event(1)), Verdict::New);
        assert_eq!(progress.event(&event(2)), Verdict::New);
        assert_eq!(progress.welcome(&welcome(EPOCH, 1, Resumed::Exact)), None);
        assert_eq!(progress.event(&event(2)), Verdict::Seen);
        assert_eq!(progress.event(&event(3)), Verdict::New);
    }

    #[test]
    fn a_hole_is_resumed_once_and_then_told() {
        let mut progress = Progress::new(None);
        progress.welcome(&welcome(EPOCH, 1, Resumed::New));
        assert_eq!(progress.event(&event(1)), Verdict::New);
        assert_eq!(progress.event(&event(4)), Verdict::Hole);
        progress.welcome(&welcome(EPOCH, 2, Resumed::Exact));
        let gap = Gap { from: 2, to: Some(3), reason: GapReason::DataLoss };
        assert_eq!(progress.event(&event(4)), Verdict::NewAfter(gap));
        assert_eq!(progress.last(), 4);
    }

    #[test]
    fn a_welcome_that_skips_without_a_word_is_told() {
        let mut progress = Progress::new(Some(cursor(0xaa, 5)));
        let gap = Gap { from: 6, to: Some(8), reason: GapReason::DataLoss };
        assert_eq!(progress.welcome(&welcome(EPOCH, 9, Resumed::Exact)), Some(gap));
    }

    #[test]
    fn an_announced_gap_is_told_once() {
        for next in [6, 9] {
            let mut progress = Progress::new(Some(cursor(0xaa, 5)));
            assert_eq!(progress.welcome(&welcome(EPOCH, next, Resumed::Gap)), None);
            let gap = Gap { from: 6, to: Some(8), reason: GapReason::Retention };
            assert_eq!(progress.gap(gap.clone()), Some(gap.clone()));
            assert_eq!(progress.gap(gap), None);
            assert_eq!(progress.event(&event(9)), Verdict::New);
        }
    }

    #[test]
    fn a_moved_consumer_begins_anew() {
        let mut progress = Progress::new(Some(cursor(0xaa, 5)));
        progress.welcome(&welcome(EPOCH, 6, Resumed::Exact));
        assert_eq!(progress.event(&event(6)), Verdict::New);
        progress.notice("moved");
        assert_eq!((progress.cursor(), progress.generation(), progress.has_begun()), (None, 1, true));
        assert_eq!(progress.welcome(&welcome(EPOCH, 2, Resumed::Exact)), None);
        assert_eq!(progress.event(&event(2)), Verdict::New);
    }

    #[test]
    fn a_cursor_that_was_not_taken_is_forgotten() {
        let mut progress = Progress::new(Some(cursor(0xaa, 500)));
        let own = Some(cursor(0xaa, 0));
        let welcomed = Welcome { cursor: own.clone(), ..welcome(EPOCH, 1, Resumed::New) };
        assert_eq!(progress.welcome(&welcomed), None);
        progress.notice("foreign_cursor");
        assert_eq!((progress.cursor(), progress.last()), (own, 0));
        assert_eq!(progress.event(&event(1)), Verdict::New);
    }

    #[test]
    fn numbers_that_a_backfill_brings_are_no_gap() {
        let mut progress = Progress::new(None);
        progress.welcome(&welcome(EPOCH, 101, Resumed::Backfill));
        assert_eq!(progress.welcome(&welcome(EPOCH, 121, Resumed::Backfill)), None);
        assert_eq!(progress.event(&event(121)), Verdict::New);
    }

    #[test]
    fn a_gap_of_unknown_length_lets_any_number_follow() {
        let mut progress = Progress::new(None);
        progress.welcome(&welcome(EPOCH, 1, Resumed::New));
        assert!(progress.gap(Gap { from: 1, to: None, reason: GapReason::DataLoss }).is_some());
        assert_eq!(progress.event(&event(7)), Verdict::New);
        assert_eq!(progress.event(&event(9)), Verdict::Hole);
    }

    #[test]
    fn the_cursor_follows_within_its_epoch_only() {
        let mut progress = Progress::new(None);
        assert_eq!(progress.cursor(), None);
        progress.welcome(&welcome(EPOCH, 1, Resumed::New));
        progress.checkpoint(0, &cursor(0xaa, 0));
        progress.event(&event(1));
        let now: Cursor = progress.cursor().unwrap().parse().unwrap();
        assert_eq!((now.seq, now.seen.len()), (Seq(1), 1));
        progress.welcome(&welcome("00000000000000bb", 1, Resumed::NewEpoch));
        progress.event(&event(1));
        // It has no checkpoint of the new epoch yet; of the old one it knows as much as before.
        assert_eq!(progress.cursor().unwrap().parse::<Cursor>().unwrap(), now);
        progress.checkpoint(1, &cursor(0xbb, 1));
        progress.event(&event(2));
        assert_eq!(progress.cursor().unwrap().parse::<Cursor>().unwrap().seq, Seq(2));
        let newer = Progress::new(Some("of a newer server".into()));
        assert_eq!(newer.cursor().as_deref(), Some("of a newer server"));
    }

    #[test]
    fn a_backfill_begun_again_repeats_nothing() {
        let mut progress = Progress::new(None);
        progress.welcome(&welcome(EPOCH, 1, Resumed::Backfill));
        let at = |position: &str| EventFrame { seq: None, position: Some(position.into()), ..event(0) };
        assert_eq!(progress.event(&at("0:5")), Verdict::New);
        assert_eq!(progress.event(&at("1:5")), Verdict::New);
        assert!(!progress.is_live());
        progress.welcome(&welcome(EPOCH, 1, Resumed::Backfill));
        assert_eq!(progress.event(&at("0:5")), Verdict::Seen);
        assert_eq!(progress.event(&at("0:6")), Verdict::New);
        progress.caught_up(0);
        assert!(progress.is_live());
    }

    #[test]
    fn numbers_that_were_left_out_are_no_hole_and_lost_ones_among_them_are() {
        let left_out = |seq, after| EventFrame { after: Some(after), ..event(seq) };
        let mut progress = Progress::new(None);
        progress.welcome(&welcome(EPOCH, 1, Resumed::New));
        assert_eq!(progress.event(&left_out(10, 0)), Verdict::New);
        progress.checkpoint(40, &cursor(0xaa, 40));
        assert_eq!(progress.event(&event(30)), Verdict::Seen);
        assert_eq!(progress.event(&left_out(50, 40)), Verdict::New);
        // One that goes back further than it was asked to tells numbers from before what is known.
        assert_eq!(progress.event(&left_out(60, 20)), Verdict::New);
        assert_eq!(progress.event(&left_out(70, 65)), Verdict::Hole);
        assert_eq!(
            progress.event(&event(70)),
            Verdict::NewAfter(Gap { from: 61, to: Some(69), reason: GapReason::DataLoss })
        );
    }
}
