//! Where a session begins: the resume table as a pure function.

use evs_api::frames::{Gap, GapReason, Resumed};
use evs_core::{Cursor, Offset, Partition, Seq, Shard, Slot};

use crate::ports::delivery_queue::{Attached, Checkpoint};
use crate::ports::event_log::PartitionRange;

/// Where the client asks to begin.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Begin {
    /// After what its consumer has acked.
    Stored,
    Latest,
    /// At the oldest that is kept and not acked by all.
    Earliest,
    After(Cursor),
}

/// Where it begins, and what it is told about that.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resume {
    pub(super) next: Seq,
    pub(super) resumed: Resumed,
    /// A gap whose size cannot be known; it occupies no numbers.
    pub(super) gap: Option<Gap>,
    pub(super) seen: Vec<(Partition, Offset)>,
    /// The cursor is of an earlier life of this queue.
    pub(super) other_life: bool,
    /// Code and message of an error frame; the session goes on.
    pub(super) error: Option<(&'static str, String)>,
}

/// `top` is the reader's, after it has reached the end of the log that `attached` saw (rule 9).
pub(super) fn resume(shard: Shard, slot: Slot, begin: &Begin, observe: bool, attached: &Attached, top: Seq) -> Resume {
    let floor = attached.acked.max(attached.lost);
    let at = |next: u64, resumed| Resume {
        next: Seq(next.clamp(1, top.0 + 1)),
        resumed,
        gap: None,
        seen: Vec::new(),
        other_life: false,
        error: None,
    };
    // An observer has no position: like `tail -f` it begins at the end unless it says otherwise.
    let stored = || match (observe, attached.new) {
        (true, _) => at(top.0 + 1, Resumed::Latest),
        (false, true) => at(attached.row.0 + 1, Resumed::New),
        (false, false) => at(attached.row.0 + 1, Resumed::Exact),
    };
    let cursor = match begin {
        Begin::Stored => return stored(),
        // One that is new was registered at the top, and what has come since is already its own.
        Begin::Latest if attached.new && !observe => return at(attached.row.0 + 1, Resumed::Latest),
        Begin::Latest => return at(top.0 + 1, Resumed::Latest),
        Begin::Earliest => return at(floor.0 + 1, if attached.new { Resumed::New } else { Resumed::Exact }),
        Begin::After(cursor) => cursor,
    };
    if (cursor.shard, cursor.slot) != (shard, slot) {
        // Another queue, such as the one that this subscriber had before it was deleted and made again (rule 18).
        let message = "the cursor is of another queue; resumed at the consumer's own position".to_owned();
        return Resume { resumed: Resumed::New, error: Some(("foreign_cursor", message)), ..stored() };
    }
    if cursor.epoch == attached.state.epoch {
        if cursor.seq > top {
            let message = format!(
                "the cursor is at {}, the queue ends at {}; resumed at the consumer's own position",
                cursor.seq, top
            );
            return Resume { error: Some(("future_cursor", message)), ..stored() };
        }
        return Resume { seen: cursor.seen.clone(), ..at(cursor.seq.0 + 1, Resumed::Exact) };
    }
    if !observe && !attached.new && attached.row_epoch == cursor.epoch {
        // The log and the row share the prefix up to that ack (rule 30).
        let next = cursor.seq.min(attached.row).0 + 1;
        return Resume { seen: cursor.seen.clone(), other_life: true, ..at(next, Resumed::NewEpoch) };
    }
    let reason = if attached.lost >= attached.acked { GapReason::Retention } else { GapReason::Acked };
    let gap = (floor.0 > 0).then_some(Gap { from: floor.0 + 1, to: None, reason });
    let resumed = if gap.is_some() { Resumed::Gap } else { Resumed::NewEpoch };
    Resume { seen: cursor.seen.clone(), gap, other_life: true, ..at(floor.0 + 1, resumed) }
}

/// Whether the event log can bring what the queue no longer has for a cursor of an earlier life: `Some(true)`, it can, but
/// for what fell to its retention. A cursor that has counted deliveries and knows no partition, since it was made from a
/// position that the server kept, says nothing of the event log. A partition that is not in a cursor had sent it nothing
/// when it was made, so its oldest event is next.
pub(super) fn refill(cursor: &Cursor, ranges: &[PartitionRange]) -> Option<bool> {
    let lost = |range: &PartitionRange| seen(cursor, range.partition).is_some_and(|seen| seen < range.low);
    (cursor.seq == Seq(0) || !cursor.seen.is_empty()).then(|| ranges.iter().any(lost))
}

/// Whether the queue was made anew and filled again from an event log that had already lost what this cursor has not
/// seen (rule 33).
pub(super) fn refilled_too_late(cursor: &Cursor, known: &[Checkpoint]) -> bool {
    known.iter().any(|of| seen(cursor, of.partition).is_some_and(|seen| seen < of.first))
}

fn seen(cursor: &Cursor, partition: Partition) -> Option<Offset> {
    cursor.seen.iter().find(|(of, _)| *of == partition).map(|(_, seen)| *seen)
}

#[cfg(test)]
mod tests {
    use evs_core::log::FoldPosition;
    use evs_core::{Epoch, FilterVersion};

    use super::*;
    use crate::ports::delivery_queue::ShardState;

    const NOW: Epoch = Epoch(2);
    const OLD: Epoch = Epoch(1);

    fn attached(row: u64, row_epoch: Epoch, acked: u64, lost: u64, new: bool) -> Attached {
        let position = FoldPosition::default();
        let state = ShardState { epoch: NOW, position, top: 9, log_bytes: 0, min_version: FilterVersion(0) };
        Attached {
            state,
            removed: false,
            full: false,
            new,
            row: Seq(row),
            row_epoch,
            acked: Seq(acked),
            lost: Seq(lost),
            base: Seq(0),
        }
    }

    fn cursor(slot: u32, epoch: Epoch, seq: u64) -> Begin {
        let seen = vec![(Partition(0), Offset(70))];
        Begin::After(Cursor { shard: Shard(0), slot: Slot(slot), epoch, seq: Seq(seq), seen })
    }

    /// "next resumed, then a gap's reason or an error's code".
    fn check(begin: &Begin, observe: bool, attached: &Attached, expect: &str) {
        let resume = resume(Shard(0), Slot(5), begin, observe, attached, Seq(50));
        let gap = resume.gap.map_or(String::new(), |gap| format!(" gap {} {:?}", gap.from, gap.reason));
        let error = resume.error.map_or(String::new(), |(code, _)| format!(" {code}"));
        let seen = if resume.seen.is_empty() { "" } else { " seen" };
        let got = format!("{} {:?}{gap}{error}{seen}", resume.next, resume.resumed);
        assert_eq!(got, expect, "{begin:?} {attached:?}");
    }

    #[test]
    fn what_the_event_log_can_bring() {
        let range = |partition, low, high| PartitionRange {
            partition: Partition(partition),
            low: Offset(low),
            high: Offset(high),
        };
        let Begin::After(cursor) = cursor(5, OLD, 30) else { unreachable!() };
        assert_eq!(refill(&cursor, &[range(0, 10, 90)]), Some(false));
        assert_eq!(refill(&cursor, &[range(0, 71, 90)]), Some(true), "70 is gone");
        assert_eq!(refill(&cursor, &[range(0, 10, 90), range(1, 3, 4)]), Some(false), "a new partition");
        let blank = Cursor { seen: Vec::new(), ..cursor.clone() };
        assert_eq!(refill(&blank, &[range(0, 0, 9)]), None);
        assert_eq!(refill(&Cursor { seq: Seq(0), ..blank.clone() }, &[range(0, 0, 9)]), Some(false));
        let covers = |first| Checkpoint { partition: Partition(0), first: Offset(first), next: Offset(95) };
        assert!(!refilled_too_late(&cursor, &[covers(70)]));
        assert!(refilled_too_late(&cursor, &[covers(71)]));
        assert!(!refilled_too_late(&blank, &[covers(71)]));
    }

    #[test]
    fn the_resume_table() {
        let row = attached(20, NOW, 10, 0, false);
        check(&Begin::Stored, false, &row, "21 Exact");
        check(&Begin::Stored, false, &attached(10, NOW, 10, 0, true), "11 New");
        check(&Begin::Stored, true, &row, "51 Latest");
        check(&Begin::Latest, false, &row, "51 Latest");
        check(&Begin::Latest, false, &attached(49, NOW, 10, 0, true), "50 Latest");
        check(&Begin::Earliest, false, &row, "11 Exact");
        check(&Begin::Earliest, true, &attached(0, NOW, 3, 8, false), "9 Exact");
        // Same epoch: exactly there, before or after the row.
        check(&cursor(5, NOW, 30), false, &row, "31 Exact seen");
        check(&cursor(5, NOW, 12), false, &row, "13 Exact seen");
        check(&cursor(5, NOW, 50), false, &row, "51 Exact seen");
        // The future concerns this client alone.
        check(&cursor(5, NOW, 51), false, &row, "21 Exact future_cursor");
        check(&cursor(5, NOW, u64::MAX), false, &row, "21 Exact future_cursor");
        // Another queue.
        check(&cursor(6, NOW, 3), false, &row, "21 New foreign_cursor");
        check(&cursor(6, OLD, 99), false, &row, "21 New foreign_cursor");
        // Another epoch, and the row was acked in it.
        check(&cursor(5, OLD, 30), false, &attached(20, OLD, 10, 0, false), "21 NewEpoch seen");
        check(&cursor(5, OLD, 15), false, &attached(20, OLD, 10, 0, false), "16 NewEpoch seen");
        // Another epoch, and nothing is known of it.
        check(&cursor(5, OLD, 30), false, &row, "11 Gap gap 11 Acked seen");
        check(&cursor(5, OLD, 30), false, &attached(0, NOW, 0, 7, false), "8 Gap gap 8 Retention seen");
        check(&cursor(5, OLD, 30), false, &attached(0, NOW, 0, 0, false), "1 NewEpoch seen");
        check(&cursor(5, OLD, 30), true, &attached(20, OLD, 0, 0, false), "1 NewEpoch seen");
    }
}
