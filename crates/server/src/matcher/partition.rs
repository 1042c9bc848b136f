//! One partition of a matcher: claim, match, append, in order.
//!
//! Each shard of the delivery log has its own checkpoint of the partition (rule 19): after a claim reading starts at
//! the smallest, and a shard takes only what lies at or past its own. A shard without matches in a batch is not called;
//! its checkpoint catches up at its next append or after [`CATCH_UP`], and such an append carries the lowest filter
//! version of all that it covers (rule 21).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use evs_core::index::{IndexReader, Match, Pipeline};
use evs_core::log::EntryBuilder;
use evs_core::{Epoch, FilterId, FilterVersion, Offset, Partition, Shard, Trace, limits};
use futures_util::future::join_all;
use tokio::sync::mpsc;

use super::{Command, Sampler, Shared};
use crate::ports::PortResult;
use crate::ports::delivery_queue::{Append, Appended, Claim};
use crate::ports::event_log::{Committed, LogBatch, LoggedEvent};
use crate::retry::Backoff;
use crate::traces::{Span, SpanKind};

/// How long a shard without matches may keep its checkpoint behind, and how often an idle matcher looks whether the
/// epoch is still the same (rule 24a).
const CATCH_UP: Duration = Duration::from_secs(2);

/// One shard's share of the claim.
#[derive(Debug)]
struct Chain {
    shard: Shard,
    epoch: Epoch,
    owner: u64,
    next: Offset,
    /// The end of what was matched, and found nothing, past `next`; and the lowest version it was matched with.
    quiet: Option<(Offset, FilterVersion)>,
}

/// Why a claim ended.
enum End {
    /// Claim again: another epoch, or the chain is broken.
    Reclaim,
    /// Another matcher has it.
    Lost,
    /// The process or the assignment ends.
    Stop,
}

pub(super) async fn run(shared: Shared, partition: Partition, generation: u64, batches: mpsc::Receiver<LogBatch>) {
    let mut task = Task {
        index: shared.index.clone(),
        sampler: shared.sampler.clone(),
        shared,
        partition,
        generation,
        batches,
        pipeline: Pipeline::default(),
        matches: Vec::new(),
        hits: Vec::new(),
        chains: Vec::new(),
        expected: Offset(0),
        worked: false,
    };
    let mut backoff = Backoff::default();
    loop {
        let end = task.hold().await;
        if std::mem::take(&mut task.worked) {
            // A claim that got something done was no failure: the next one need not wait for those before it.
            backoff = Backoff::default();
        }
        match end {
            End::Stop => break,
            End::Reclaim => {}
            End::Lost => {
                let _ = task.shared.commands.send(Command::Release { partition, generation }).await;
                break;
            }
        }
        if !backoff.wait(&task.shared.app.shutdown).await {
            break;
        }
    }
}

struct Task {
    shared: Shared,
    index: IndexReader,
    sampler: Sampler,
    partition: Partition,
    generation: u64,
    batches: mpsc::Receiver<LogBatch>,
    pipeline: Pipeline,
    matches: Vec<Match>,
    /// The filters that matched in the batch, reused.
    hits: Vec<FilterId>,
    chains: Vec<Chain>,
    /// Where the next batch must begin; others are left over from before a restart.
    expected: Offset,
    /// Whether the present claim has finished a batch.
    worked: bool,
}

impl Task {
    /// Claims the partition and works on it until something ends the claim.
    async fn hold(&mut self) -> End {
        if let Err(end) = self.claim().await {
            return end;
        }
        // A backlog must not keep it from being due, so its time goes before the next batch.
        let mut due = tokio::time::interval(CATCH_UP);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut committed = self.expected;
        loop {
            let batch = tokio::select! {
                biased;
                _ = due.tick() => {
                    match self.catch_up().await {
                        Ok(()) => {}
                        Err(end) => return end,
                    }
                    if self.expected > committed {
                        committed = self.expected;
                        let _ = self.shared.commands.send(self.commit()).await;
                    }
                    continue;
                }
                batch = self.batches.recv() => batch,
            };
            let Some(batch) = batch else {
                // The last word of this claim; what fails here is done again by the next owner.
                if self.catch_up().await.is_ok() {
                    let _ = self.shared.commands.try_send(self.commit());
                }
                return End::Stop;
            };
            if batch.from != self.expected {
                continue;
            }
            if let Err(end) = self.process(batch).await {
                return end;
            }
            self.worked = true;
        }
    }

    /// What every shard has, once they have caught up.
    fn commit(&self) -> Command {
        let epochs = self.chains.iter().map(|chain| chain.epoch).collect();
        Command::Commit { partition: self.partition, progress: Committed { next: self.expected, epochs } }
    }

    async fn claim(&mut self) -> Result<(), End> {
        let queue = self.shared.app.queue.clone();
        let (low, committed) = self.log_knows().await?;
        let mut chains = Vec::new();
        for shard in (0..queue.shards()).map(Shard) {
            let mut backoff = Backoff::default();
            let chain = loop {
                match self.claim_shard(shard).await {
                    Ok(Some((epoch, claim))) => match missing(committed.as_ref(), shard, epoch, claim.next) {
                        None => {
                            let next = claim.next.unwrap_or(low);
                            break Chain { shard, epoch, owner: claim.owner, next, quiet: None };
                        }
                        Some(next) => self.renew(shard, epoch, claim.next, next).await,
                    },
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, %shard, "cannot claim partition {}", self.partition),
                }
                if !backoff.wait(&self.shared.app.shutdown).await {
                    return Err(End::Stop);
                }
            };
            chains.push(chain);
        }
        let from = chains.iter().map(|chain| chain.next).min().unwrap_or(low);
        self.chains = chains;
        // What waits in the channel was read before this claim.
        while self.batches.try_recv().is_ok() {}
        self.expected = from;
        let start = Command::Start { partition: self.partition, generation: self.generation, from };
        self.shared.commands.send(start).await.map_err(|_| End::Stop)
    }

    /// A new life of the log begins with the newest filters that there are, active or not (rule 23): what was active
    /// before may be among them, and only the filter store remembers it.
    async fn claim_shard(&self, shard: Shard) -> PortResult<Option<(Epoch, Claim)>> {
        let (queue, filters) = (&self.shared.app.queue, &self.shared.app.filters);
        let epoch = queue.state(shard).await?.epoch;
        if let Some(claim) = queue.claim(shard, epoch, self.partition).await? {
            return Ok(Some((epoch, claim)));
        }
        let epoch = queue.open(shard, filters.version().await?).await?.epoch;
        Ok(queue.claim(shard, epoch, self.partition).await?.map(|claim| (epoch, claim)))
    }

    /// The delivery queue has forgotten what the group's commit says it had: a new epoch, filled from the log again.
    async fn renew(&self, shard: Shard, epoch: Epoch, has: Option<Offset>, had: Offset) {
        let has = has.map_or("nothing".to_owned(), |next| format!("offset {next}"));
        let message = format!(
            "the delivery queue has lost part of shard {shard}: its checkpoint of partition {} is at {has}, and it was \
             at offset {had}; a new epoch begins, and what is missing is matched again",
            self.partition
        );
        tracing::error!(%shard, partition = %self.partition, "{message}");
        self.shared.app.oplog.write(evs_api::oplog::Level::Error, "epoch", None, message);
        if let Err(error) = self.shared.app.queue.renew(shard, epoch).await {
            tracing::warn!(%error, %shard, "the new epoch could not be begun yet");
        }
    }

    /// The oldest offset that the log holds, and what was committed last.
    async fn log_knows(&self) -> Result<(Offset, Option<Committed>), End> {
        let (log, partition, mut backoff) = (&self.shared.app.log, self.partition, Backoff::default());
        loop {
            match tokio::try_join!(log.partitions(), log.committed(partition)) {
                Ok((ranges, committed)) => {
                    let own = ranges.iter().find(|range| range.partition == partition);
                    return Ok((own.map_or(Offset(0), |range| range.low), committed));
                }
                Err(error) => tracing::warn!(%error, %partition, "cannot ask the log about the partition"),
            }
            if !backoff.wait(&self.shared.app.shutdown).await {
                return Err(End::Stop);
            }
        }
    }

    /// Matches a batch and appends it to every shard that has matches. Cut where an entry would grow too large.
    async fn process(&mut self, batch: LogBatch) -> Result<(), End> {
        let mut from = batch.from;
        let mut events = batch.events.as_slice();
        loop {
            let (taken, to) = self.step(from, batch.to, events).await?;
            events = &events[taken..];
            from = to;
            if from >= batch.to {
                self.expected = batch.to;
                return Ok(());
            }
        }
    }

    /// Appends as many of `events` as fit one entry; answers how many, and the offset after them. When a shard wants
    /// newer filters, the events are matched again with them.
    async fn step(&mut self, from: Offset, end: Offset, events: &[LoggedEvent]) -> Result<(usize, Offset), End> {
        loop {
            let (taken, to, version, builders, spans) = self.match_events(end, events);
            let mut appends = Vec::new();
            for (chain, builder) in self.chains.iter_mut().zip(builders) {
                if chain.next >= to {
                    continue;
                }
                if builder.is_empty() {
                    let lowest = chain.quiet.map_or(version, |(_, lowest)| lowest.min(version));
                    chain.quiet = Some((to, lowest));
                    continue;
                }
                let lowest = chain.quiet.map_or(version, |(_, lowest)| lowest.min(version));
                let routes = builder.routes_len() as u64;
                let append = Append {
                    epoch: chain.epoch,
                    owner: chain.owner,
                    partition: self.partition,
                    from: chain.next,
                    to,
                    version: lowest,
                    entry: Some(Arc::new(builder.finish(to))),
                };
                appends.push((chain.shard, append, routes));
            }
            let sent = join_all(appends.into_iter().map(|(shard, append, routes)| {
                let shared = &self.shared;
                async move { (shard, routes, send(shared, shard, append).await) }
            }));
            let mut again = None;
            for (shard, routes, result) in sent.await {
                match result? {
                    Sent::Done => {
                        let chain = &mut self.chains[usize::from(shard.0)];
                        (chain.next, chain.quiet) = (to, None);
                        self.shared.app.metrics.deliveries.inc_by(routes);
                    }
                    Sent::Stale(minimum) => again = again.max(Some(minimum)),
                }
            }
            match again {
                // The spans end here, with the append.
                None => {
                    drop(spans);
                    return Ok((taken, to));
                }
                Some(minimum) => self.refresh(minimum).await?,
            }
            // What was quiet with the old filters need not be with the new ones: all of it is matched again.
            self.chains.iter_mut().for_each(|chain| chain.quiet = None);
            // A quiet stretch was matched with old filters as well: match it again from its start.
            if let Some(start) = self.chains.iter().filter(|chain| chain.next < from).map(|chain| chain.next).min() {
                self.rematch(start, from).await?;
            }
        }
    }

    /// Reads `from..to` again and matches it with the filters of now, for shards whose checkpoint is behind.
    async fn rematch(&mut self, mut from: Offset, to: Offset) -> Result<(), End> {
        for chain in &mut self.chains {
            chain.quiet = None;
        }
        let mut backoff = Backoff::default();
        while from < to {
            match self.shared.app.log.read(self.partition, from, 1024, limits::ENTRY_BYTES_MAX).await {
                Ok(read) if read.next > from => {
                    let next = read.next.min(to);
                    let events: Vec<_> = read.events.into_iter().filter(|event| event.offset < to).collect();
                    let mut events = events.as_slice();
                    while from < next {
                        let (taken, step_to) = Box::pin(self.step(from, next, events)).await?;
                        events = &events[taken..];
                        from = step_to;
                    }
                    continue;
                }
                Ok(_) => return Err(End::Reclaim),
                Err(error) => tracing::warn!(%error, "cannot read partition {} again", self.partition),
            }
            if !backoff.wait(&self.shared.app.shutdown).await {
                return Err(End::Stop);
            }
        }
        Ok(())
    }

    /// Matches events until an entry is full: how many, the offset after them, the version, an entry per shard.
    fn match_events(
        &mut self,
        end: Offset,
        events: &[LoggedEvent],
    ) -> (usize, Offset, FilterVersion, Vec<EntryBuilder>, Vec<Span>) {
        let now_ms = self.shared.app.clock.now_ms();
        let snapshot = self.index.snapshot();
        let mut builders: Vec<EntryBuilder> = self
            .chains
            .iter()
            .map(|chain| EntryBuilder::new(chain.epoch, self.partition, chain.next, now_ms))
            .collect();
        let mut matched = 0;
        self.hits.clear();
        let before = (self.pipeline.candidates(), self.pipeline.matches());
        let (mut cut, mut spans) = (None, Vec::new());
        let all = events.iter().map(|logged| &logged.event);
        let (sampler, hits, chains) = (&mut self.sampler, &mut self.hits, &self.chains);
        snapshot.matches_each(all, &mut self.pipeline, &mut self.matches, |number, matches| {
            let logged = &events[number];
            sampler.see(&logged.event);
            if matches.is_empty() {
                return ControlFlow::Continue(());
            }
            matched += 1;
            let mut full = false;
            let at = (self.partition, logged.offset);
            let span = logged.event.trace().map(|trace| span(&self.shared, trace, at, matches.len()));
            let trace = span.as_ref().and_then(Span::trace);
            spans.extend(span);
            for of_shard in matches.chunk_by(|left, right| left.target.shard == right.target.shard) {
                let at = usize::from(of_shard[0].target.shard.0);
                let (Some(builder), Some(chain)) = (builders.get_mut(at), chains.get(at)) else { continue };
                if logged.offset < chain.next {
                    continue;
                }
                builder.event(logged.offset, logged.time_ms, logged.event.bytes().clone());
                if let Some(trace) = trace {
                    builder.trace(trace);
                }
                for of_slot in of_shard.chunk_by(|left, right| left.target.slot == right.target.slot) {
                    builder.route(of_slot[0].target.slot.0, of_slot.iter().map(|found| found.filter));
                }
                full |= builder.routes_len() >= limits::ENTRY_ROUTES_MAX / 4
                    || builder.body_bytes() >= limits::ENTRY_BYTES_MAX;
            }
            hits.extend(matches.iter().map(|found| found.filter));
            if full {
                cut = Some((number + 1, Offset(logged.offset.0 + 1)));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        // Under one lock, which the other partitions' tasks share, so not for longer than it takes to count.
        self.shared.app.activity.count(&self.hits, now_ms);
        self.shared.app.metrics.events_matched.inc_by(matched);
        self.shared.app.metrics.match_candidates.inc_by(self.pipeline.candidates() - before.0);
        self.shared.app.metrics.match_matches.inc_by(self.pipeline.matches() - before.1);
        let (taken, to) = cut.unwrap_or((events.len(), end));
        (taken, to, snapshot.version(), builders, spans)
    }

    /// Waits until the index has at least `minimum`.
    async fn refresh(&mut self, minimum: FilterVersion) -> Result<(), End> {
        let mut applied = self.shared.applied.clone();
        tokio::select! {
            newer = applied.wait_for(|version| *version >= minimum.0) => newer.map(|_| ()).map_err(|_| End::Stop),
            () = self.shared.app.shutdown.cancelled() => Err(End::Stop),
        }
    }

    /// Moves checkpoints that stood still for want of matches, and looks for a new epoch.
    async fn catch_up(&mut self) -> Result<(), End> {
        // A partition without events must not keep the filters of long ago in memory.
        self.index.snapshot();
        let mut at = 0;
        while let Some(chain) = self.chains.get(at) {
            let (shard, epoch) = (chain.shard, chain.epoch);
            let Some((to, version)) = chain.quiet else {
                at += 1;
                match self.shared.app.queue.state(shard).await {
                    Ok(state) if state.epoch != epoch => return Err(End::Reclaim),
                    // Unavailable is not a new epoch; the next append or poll tells.
                    Ok(_) | Err(_) => continue,
                }
            };
            let append = Append {
                epoch,
                owner: chain.owner,
                partition: self.partition,
                from: chain.next,
                to,
                version,
                entry: None,
            };
            match send(&self.shared, shard, append).await? {
                Sent::Done => {
                    let chain = &mut self.chains[at];
                    (chain.next, chain.quiet) = (to, None);
                }
                Sent::Stale(minimum) => {
                    self.refresh(minimum).await?;
                    // Every shard's quiet stretch was matched with old filters: from the start of the longest. The
                    // shard is looked at once more: it may be quiet again.
                    let from = self.chains.iter().map(|chain| chain.next).min().unwrap_or(self.expected);
                    self.rematch(from, self.expected).await?;
                }
            }
        }
        Ok(())
    }
}

/// What was committed, if a shard's checkpoint is behind that in the very epoch that the commit speaks of: another
/// epoch knows of its loss already.
fn missing(committed: Option<&Committed>, shard: Shard, epoch: Epoch, next: Option<Offset>) -> Option<Offset> {
    let committed = committed?;
    let same = committed.epochs.get(usize::from(shard.0)) == Some(&epoch);
    (same && next.is_none_or(|next| next < committed.next)).then_some(committed.next)
}

enum Sent {
    Done,
    Stale(FilterVersion),
}

/// Sends one append until it is answered: the identical call after every failure, since nothing is known of it.
async fn send(shared: &Shared, shard: Shard, append: Append) -> Result<Sent, End> {
    let metrics = &shared.app.metrics;
    let mut backoff = Backoff::default();
    loop {
        match shared.app.queue.append(shard, append.clone()).await {
            Ok(Appended::Applied { .. }) => {
                metrics.appends.inc();
                return Ok(Sent::Done);
            }
            Ok(Appended::AlreadyApplied) => {
                metrics.appends_already.inc();
                return Ok(Sent::Done);
            }
            Ok(Appended::Stale { minimum }) => {
                metrics.appends_stale.inc();
                return Ok(Sent::Stale(minimum));
            }
            Ok(Appended::OtherEpoch(epoch)) => {
                metrics.epoch_changes.inc();
                tracing::warn!(%shard, %epoch, "the delivery log has a new epoch; claiming again");
                return Err(End::Reclaim);
            }
            Ok(Appended::Fenced) => {
                metrics.appends_fenced.inc();
                tracing::info!(%shard, partition = append.partition.0, "another matcher has the partition");
                return Err(End::Lost);
            }
            Ok(Appended::Conflict { next }) => {
                metrics.appends_conflict.inc();
                tracing::warn!(%shard, from = append.from.0, next = next.0, "the checkpoint has moved; claiming again");
                return Err(End::Reclaim);
            }
            Ok(Appended::Full) => {
                metrics.appends_full.inc();
            }
            Err(error) => tracing::warn!(%error, %shard, "an append was not answered; sending it again"),
        }
        if !backoff.wait(&shared.app.shutdown).await {
            return Err(End::Stop);
        }
    }
}

/// The span of an event that matched, until its deliveries are written.
fn span(shared: &Shared, parent: Trace, (partition, offset): (Partition, Offset), filters: usize) -> Span {
    let mut span = shared.app.traces.span("match", SpanKind::Consumer, Some(parent), None);
    span.set("evs.partition", i64::from(partition.0));
    span.set("evs.offset", offset.0.cast_signed());
    span.set("evs.filters", filters as i64);
    span
}
