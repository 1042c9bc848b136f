//! What matching costs, beside a plain scan, the a-tree crate and a copy of the matches, all in one run.
//!
//! `cargo bench -p evs-core --bench matching -- [--sizes 10000,1000000] [--workloads broad,entity] [--scan-max 100000]
//! [--atree-max 10000] [--repeats 7] [--events 2000] [--observe 8192] [--changes 50000]`

mod peers;
mod workloads;

use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Duration;

use evs_core::index::{MatchIndex, Pipeline, Scratch, Target};
use evs_core::{FilterId, FilterVersion, Shard, Slot};
use workloads::{Generator, Sample, SampleEvent, Workload};

/// Most of an insert is allocation, so the allocator is part of what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: u64 = 0x05ee_d5ee_d5ee;
/// Distinct events by default; with very few, what they need stays in the caches.
const EVENTS: usize = 2000;
const SHARDS: u32 = 8;
/// Events that are matched together, as a matcher reads them from the log.
const BATCH: usize = 50;

/// Changes between two publications, as a server batches them.
const CHANGES_PER_PUBLISH: usize = 1000;

/// Filters that are read before they are put in; it divides the number above.
const READ_AHEAD: usize = 50;

struct Options {
    sizes: Vec<usize>,
    workloads: Vec<Workload>,
    scan_max: usize,
    atree_max: usize,
    repeats: usize,
    repeat: Duration,
    events: usize,
    observe: usize,
    changes: usize,
}

impl Options {
    fn from_args() -> Self {
        let args: Vec<String> = std::env::args().collect();
        let value = |name: &str| {
            let at = args.iter().position(|arg| arg == name)?;
            args.get(at + 1).cloned()
        };
        let number = |name: &str, or: usize| value(name).map_or(or, |text| text.parse().expect("a number"));
        let names = value("--workloads").unwrap_or_else(|| "broad,entity,threshold,mixed".into());
        let sizes = value("--sizes").unwrap_or_else(|| "1000,10000,100000,1000000".into());
        Self {
            sizes: sizes.split(',').map(|size| size.parse().expect("a number")).collect(),
            workloads: Workload::ALL.into_iter().filter(|w| names.split(',').any(|name| name == w.name())).collect(),
            scan_max: number("--scan-max", 1_000_000),
            atree_max: number("--atree-max", 10_000),
            repeats: number("--repeats", 7),
            repeat: Duration::from_millis(number("--repeat-ms", 150) as u64),
            events: number("--events", EVENTS),
            observe: number("--observe", 0),
            changes: number("--changes", 50_000),
        }
    }

    /// The median time of one event over a few repeats, each long enough for the clock.
    fn per_event(&self, events: usize, mut run: impl FnMut(usize)) -> f64 {
        self.per_event_both(events, |at, _| run(at)).0
    }

    /// The median times of one event for two runs in turn, `run(at, false)` and `run(at, true)`, and of what the second
    /// takes longer, repeat by repeat, so that whatever slows the machine for a while slows both.
    fn per_event_both(&self, events: usize, mut run: impl FnMut(usize, bool)) -> (f64, f64, f64) {
        let mut at = 0;
        let mut time = |count: usize, second: bool| {
            let start = Clock::start();
            for _ in 0..count {
                run(at, second);
                at = (at + 1) % events;
            }
            start.elapsed().as_nanos() as f64
        };
        let mut count = 1;
        loop {
            let once = time(count, true);
            if once >= self.repeat.as_nanos() as f64 / 4.0 {
                count = ((count as f64 * self.repeat.as_nanos() as f64 / once) as usize).max(1);
                break;
            }
            count *= 4;
        }
        let each = |second: bool, time: &mut dyn FnMut(usize, bool) -> f64| time(count, second) / count as f64;
        let times: Vec<(f64, f64)> =
            (0..self.repeats).map(|_| (each(false, &mut time), each(true, &mut time))).collect();
        let median = |of: fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = times.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        (median(|times| times.0), median(|times| times.1), median(|times| times.1 - times.0))
    }
}

/// Time that this thread ran, where the system tells it, so that other work on the machine counts less.
struct Clock(Duration);

impl Clock {
    fn start() -> Self {
        Self(ran())
    }

    fn elapsed(&self) -> Duration {
        ran() - self.0
    }
}

#[cfg(unix)]
fn ran() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("no thread has run for less than nothing")
}

#[cfg(not(unix))]
fn ran() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

fn main() {
    let options = Options::from_args();
    for workload in &options.workloads {
        println!("\n## {}", workload.name());
        println!(
            "{:>9} {:>9} {:>7} {:>10} {:>10} {:>10} {:>9} {:>9} {:>12} {:>12} {:>7} {:>8} {:>8} {:>7} {:>7}",
            "filters",
            "matches",
            "cand/m",
            "find ns",
            "json ns",
            "sorted ns",
            "ns/match",
            "copy",
            "scan ns",
            "a-tree ns",
            "B/filt",
            "res B",
            "ins ns",
            "load ns",
            "del ns"
        );
        for size in &options.sizes {
            measure(&options, *workload, *size);
        }
    }
}

fn measure(options: &Options, workload: Workload, size: usize) {
    let mut generator = Generator::new(workload, size, SEED);
    let keep = size <= options.scan_max.max(options.atree_max) || options.observe > 0;
    let mut samples: Vec<Sample> = Vec::new();
    let resident = resident_bytes();
    let mut index = MatchIndex::new();
    let mut loading = Duration::ZERO;
    let mut batch: Vec<Sample> = Vec::new();
    for n in 0..size {
        batch.push(generator.filter());
        if batch.len() == CHANGES_PER_PUBLISH || n + 1 == size {
            let first = n + 1 - batch.len();
            let start = Clock::start();
            insert(&mut index, (first..).zip(&batch));
            index.publish(FilterVersion(n as u64));
            loading += start.elapsed();
            if keep {
                samples.append(&mut batch);
            }
            batch.clear();
        }
    }
    let resident = if keep { 0 } else { resident_bytes().saturating_sub(resident) / size };
    if options.observe > 0 {
        observe(&mut index, &mut generator, &samples, options.observe);
    }
    let events: Vec<SampleEvent> = (0..options.events).map(|n| generator.event(n)).collect();
    let mut reader = index.reader();
    let snapshot = reader.snapshot().clone();

    let mut scratch = Scratch::default();
    let mut out = Vec::new();
    for sample in &events {
        snapshot.matches(&sample.event, &mut scratch, &mut out);
    }
    let matches = scratch.matches as f64 / events.len() as f64;
    let candidates = scratch.candidates as f64 / scratch.matches.max(1) as f64;

    let mut ids: Vec<u32> = Vec::new();
    let mut pipeline = Pipeline::default();
    let batches: Vec<&[SampleEvent]> = events.chunks(BATCH).collect();
    let by_event = batches.len() as f64 / events.len() as f64;
    // An event as numbers: what is left when reading it is taken away.
    let (_, json, find) = options.per_event_both(batches.len(), |at, whole| {
        let batch = batches[at].iter().map(|sample| &sample.event);
        if whole {
            let mut last = usize::MAX;
            snapshot.visit_each(batch, &mut pipeline, |event, run| {
                if event != last {
                    black_box(&ids);
                    ids.clear();
                    last = event;
                }
                ids.extend_from_slice(run);
            });
        } else {
            batch.for_each(|event| snapshot.read(event, &mut scratch));
        }
        black_box((&scratch, &ids));
    });
    let (json, find) = (json * by_event, find * by_event);
    let sorted = by_event
        * options.per_event(batches.len(), |at| {
            let batch = batches[at].iter().map(|sample| &sample.event);
            snapshot.matches_each(batch, &mut pipeline, &mut out, |_, found| {
                black_box(found);
                ControlFlow::Continue(())
            });
        });
    let from: Vec<u32> = (0..matches.ceil() as u32).collect();
    let copy = options.per_event(1, |_| {
        ids.clear();
        ids.extend_from_slice(black_box(&from));
        black_box(&ids);
    }) / matches.max(1.0);

    let scan = if size <= options.scan_max { peers::scan(options, &samples, &events) } else { f64::NAN };
    let atree = if size <= options.atree_max && workload != Workload::Mixed {
        peers::atree(options, &samples, &events)
    } else {
        f64::NAN
    };
    let bytes = index.stats().memory_bytes / size;
    // Readers move on: one that stayed would cost the next publications a copy of their lists.
    drop((reader, snapshot));
    let (inserts, deletes) = change(&mut index, &mut generator, size, options.changes);
    println!(
        "{size:>9} {matches:>9.1} {candidates:>7.2} {find:>10.0} {json:>10.0} {sorted:>10.0} {:>9.2} {copy:>9.2} \
         {scan:>12.0} {atree:>12.0} {bytes:>7} {resident:>8} {inserts:>8.0} {:>7.0} {deletes:>7.0}",
        find / matches.max(1.0),
        loading.as_nanos() as f64 / size as f64,
    );
}

/// Shows the writer events, as a server does, and puts filters anew that are badly placed for them.
fn observe(index: &mut MatchIndex, generator: &mut Generator, samples: &[Sample], events: usize) {
    for n in 0..events {
        index.observe(&generator.event(n).event);
    }
    let mut moved = 0;
    loop {
        let misplaced = index.misplaced(CHANGES_PER_PUBLISH);
        if misplaced.is_empty() {
            break;
        }
        moved += misplaced.len();
        insert(index, misplaced.iter().map(|id| (id.0 as usize, &samples[id.0 as usize])));
        index.publish(FilterVersion((samples.len() + moved) as u64));
    }
    println!("{events} events shown, {moved} filters put anew");
}

fn insert<'a>(index: &mut MatchIndex, filters: impl Iterator<Item = (usize, &'a Sample)>) {
    index.insert_all(filters.map(|(id, sample)| {
        let id = u32::try_from(id).expect("ids are small");
        let target = Target { shard: Shard((id % SHARDS) as u16), slot: Slot(id / SHARDS / 4) };
        (FilterId(id), target, &sample.filter)
    }));
}

/// The time of an insert and of a delete, with their share of publication.
fn change(index: &mut MatchIndex, generator: &mut Generator, size: usize, most: usize) -> (f64, f64) {
    let count = size.min(most);
    let mut inserts = Duration::ZERO;
    for first in (0..count).step_by(READ_AHEAD) {
        let end = count.min(first + READ_AHEAD);
        // A filter is put in soon after it was read, so it lies near.
        let read: Vec<Sample> = (first..end).map(|_| generator.filter()).collect();
        let start = Clock::start();
        insert(index, (size + first..).zip(&read));
        if end.is_multiple_of(CHANGES_PER_PUBLISH) {
            index.publish(FilterVersion((size + end) as u64));
        }
        inserts += start.elapsed();
    }
    let start = Clock::start();
    for n in 0..count {
        // A step that has no factor in common with the sizes visits the filters in a scattered order.
        let id = n * 7_919 % size;
        index.remove(FilterId(u32::try_from(id).expect("ids are small")));
        if n % CHANGES_PER_PUBLISH == CHANGES_PER_PUBLISH - 1 {
            index.publish(FilterVersion((2 * size + n) as u64));
        }
    }
    let deletes = start.elapsed();
    (inserts.as_nanos() as f64 / count as f64, deletes.as_nanos() as f64 / count as f64)
}

/// Resident memory of this process, where the system tells it (Linux).
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    resident.unwrap_or_default() * 4096
}
