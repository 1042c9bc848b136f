//! What became of an event for one subscriber: found in the hot window, among the spilled, or told from the floor.

use evs_api::explain::Step;
use evs_core::{Position, Seq};

use crate::clock::rfc3339;
use crate::http::Api;
use crate::http::problem::ApiResult;
use crate::ports::delivery_queue::QueueRead;
use crate::ports::filter_store::SubscriberRecord;

/// Deliveries that are looked through, in the window and among the spilled.
const LOOK_MAX: usize = 100_000;
const READ_MAX: usize = 1_000;

/// What is known of the event already.
pub(super) struct Seen<'a> {
    pub(super) position: Position,
    pub(super) time_ms: i64,
    /// The subscriber's filters that match it now.
    pub(super) matching: &'a [u32],
    pub(super) newest_change_ms: i64,
}

struct Queued {
    seq: Seq,
    filters: Vec<u32>,
    spilled: bool,
}

pub(super) async fn follow(api: &Api, record: &SubscriberRecord, seen: &Seen<'_>) -> ApiResult<Vec<Step>> {
    let mut trail = vec![step("logged", format!("at {} in {}", rfc3339(seen.time_ms), seen.position))];
    let queue = api.app.queue.read(record.shard, record.slot, Seq(1), 0).await?;
    match find(api, record, seen.position, &queue).await? {
        Some(queued) => became(api, record, &queued, &queue, &mut trail).await?,
        None => missing(api, record, seen, &queue, &mut trail),
    }
    Ok(trail)
}

async fn find(api: &Api, record: &SubscriberRecord, place: Position, queue: &QueueRead) -> ApiResult<Option<Queued>> {
    let hot = api.app.readers.shard(record.shard).with_window(|window| {
        let deliveries = window.find(record.slot, Seq(queue.base.0 + 1), LOOK_MAX)?;
        deliveries.into_iter().find_map(|found| {
            let here =
                found.entry.partition == place.partition && found.entry.event(&found.route).offset == place.offset;
            here.then(|| Queued { seq: found.seq, filters: found.entry.filters(&found.route).to_vec(), spilled: false })
        })
    });
    if let Some(queued) = hot.flatten() {
        return Ok(Some(queued));
    }
    let mut from = Seq(queue.acked.0.max(queue.lost.0) + 1);
    for _ in 0..LOOK_MAX / READ_MAX {
        let records = api.app.queue.read(record.shard, record.slot, from, READ_MAX).await?.records;
        let Some(last) = records.last() else { break };
        from = Seq(last.seq.0 + 1);
        let here = records.iter().find(|spill| spill.partition == place.partition && spill.offset == place.offset);
        if let Some(spill) = here {
            return Ok(Some(Queued { seq: spill.seq, filters: spill.filters.clone(), spilled: true }));
        }
    }
    Ok(None)
}

/// It is in the queue.
async fn became(
    api: &Api,
    record: &SubscriberRecord,
    queued: &Queued,
    queue: &QueueRead,
    trail: &mut Vec<Step>,
) -> ApiResult<()> {
    let seq = queued.seq;
    trail.push(step("matched", format!("by {}", names(&queued.filters))));
    trail.push(step("queued", format!("as seq {seq}")));
    if queued.spilled {
        trail.push(step("spilled", "left the hot log unacked and waits in the subscriber's own queue"));
    }
    if seq <= queue.lost {
        trail.push(step("trimmed", "lost to retention before it was acked"));
        return Ok(());
    }
    let consumers = api.app.queue.consumers(record.shard, record.slot).await?;
    let (acked, waiting): (Vec<_>, Vec<_>) = consumers.iter().partition(|consumer| consumer.acked >= seq);
    let list = |consumers: &[&crate::ports::delivery_queue::ConsumerState]| {
        consumers.iter().map(|consumer| consumer.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let presence = api.app.readers.attached().presence(record.shard, record.slot);
    let sent = presence.as_ref().is_some_and(|presence| presence.sent >= seq);
    if sent {
        trail.push(step("sent", "to every connection that is open now"));
    }
    if !acked.is_empty() {
        trail.push(step("acked", format!("by {}", list(&acked))));
    }
    if consumers.is_empty() {
        trail.push(step("pending", "no consumer has ever connected"));
    } else if !waiting.is_empty() {
        let why = match presence {
            None => "is not connected",
            Some(_) if sent => "has not acked it",
            Some(_) => "is behind",
        };
        trail.push(step("pending", format!("{} {why}", list(&waiting))));
    }
    Ok(())
}

/// It is not in the queue: it never was, it is not yet, or it is not any more.
fn missing(api: &Api, record: &SubscriberRecord, seen: &Seen<'_>, queue: &QueueRead, trail: &mut Vec<Step>) {
    let Position { partition, offset } = seen.position;
    let matched_to = api
        .app
        .readers
        .shard(record.shard)
        .with_window(|window| window.ends().iter().find(|(of, _)| *of == partition).map(|(_, end)| *end));
    let by = names(seen.matching);
    match (seen.matching.is_empty(), matched_to.flatten()) {
        (true, _) => trail.push(step("not_matched", "no filter of the subscriber matches it, as they are now")),
        (false, Some(end)) if offset >= end && queue.base.0 == 0 => {
            trail.push(step("pending", format!("{by} matches it; the matcher may not have reached it yet")));
        }
        (false, _) if seen.newest_change_ms > seen.time_ms => {
            let changed = rfc3339(seen.newest_change_ms);
            let detail = format!("{by} matches it now, but the filters were last changed after it, at {changed}");
            trail.push(step("not_matched", detail));
        }
        (false, end) if end.is_none_or(|end| offset >= end) => {
            trail.push(step("pending", format!("{by} matches it; the matcher may not have reached it yet")));
        }
        (false, _) => {
            let (acked, lost) = (queue.acked, queue.lost);
            let detail = format!(
                "{by} matches it; it has left the queue, of which {acked} deliveries are acked by every consumer"
            );
            trail.push(match lost {
                Seq(0) => step("acked", detail),
                lost => step("trimmed", format!("{detail} and those up to {lost} were lost to retention or acked")),
            });
        }
    }
}

fn names(filters: &[u32]) -> String {
    match filters {
        [one] => format!("filter {one}"),
        many => format!("filters {}", many.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    }
}

fn step(step: &str, detail: impl Into<String>) -> Step {
    Step { step: step.to_owned(), detail: detail.into() }
}
