//! What is known of each filter's matches, of the match index and of the event log's assignment, here and at other
//! instances.
//!
//! Only a matcher counts matches, and a deployment has several of them. So that any API can show a filter's count, a
//! process reports which filters somebody looked at there, and matchers report what they have counted for these.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use evs_api::filters::FilterActivity;
use evs_api::stats::IndexStats;
use evs_core::{FilterId, Partition};
use rustc_hash::FxHashMap;

use crate::ports::filter_store::{Assignment, InstanceReport};

/// Matches per filter, what the index says of itself, and what the log has assigned. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    hits: Arc<Mutex<FxHashMap<u32, Hits>>>,
    index: Arc<Mutex<IndexStats>>,
    elsewhere: Arc<Mutex<Elsewhere>>,
    assignment: Arc<Mutex<Assignment>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    total: u64,
    last_match_ms: i64,
    /// Total and time at the start of the present and the last rate window.
    window: [(u64, i64); 2],
}

/// What other instances have and want.
#[derive(Debug, Default)]
struct Elsewhere {
    unindexable_filters: u64,
    /// Filters that were looked at here, with the time of it.
    looked_at: FxHashMap<u32, i64>,
    /// Filters that were looked at elsewhere.
    asked: Vec<u32>,
    /// What the other matchers have counted for those that were looked at here, together.
    counted: FxHashMap<u32, FilterActivity>,
}

/// Rates are measured over windows of this length.
const RATE_WINDOW_MS: i64 = 10_000;

/// Filters that are asked for at once, a page of them; what is looked at besides has no count from elsewhere.
const ASKED_MAX: usize = 1000;
/// So long after somebody looked at a filter it is still asked for: a dashboard looks every few seconds.
const ASKED_FOR_MS: i64 = 15_000;

impl Activity {
    /// Counts the matches of one batch, a filter as often as it matched.
    pub(super) fn count(&self, matched: &[FilterId], now_ms: i64) {
        let mut hits = lock(&self.hits);
        for filter in matched {
            let hits = hits.entry(filter.0).or_insert(Hits { window: [(0, now_ms); 2], ..Hits::default() });
            if now_ms - hits.window[0].1 >= RATE_WINDOW_MS {
                hits.window = [(hits.total, now_ms), hits.window[0]];
            }
            hits.total += 1;
            hits.last_match_ms = now_ms;
        }
    }

    /// Forgets a filter that is gone.
    pub(super) fn forget(&self, filter: FilterId) {
        lock(&self.hits).remove(&filter.0);
    }

    pub(super) fn clear(&self) {
        lock(&self.hits).clear();
    }

    /// What this process's matcher has counted; nothing where it has none.
    fn counted(&self, filter: u32, now_ms: i64) -> FilterActivity {
        let hits = lock(&self.hits).get(&filter).copied().unwrap_or_default();
        let (total, since_ms) = hits.window[1];
        let span_s = (now_ms - since_ms).max(1) as f64 / 1000.0;
        let quiet = hits.total == 0 || now_ms - hits.last_match_ms > 2 * RATE_WINDOW_MS;
        FilterActivity {
            matched_total: hits.total,
            matched_per_s: if quiet { 0.0 } else { (hits.total - total) as f64 / span_s },
            last_match_ms: (hits.total > 0).then_some(hits.last_match_ms),
        }
    }

    /// What all matchers have counted, those elsewhere as they last told; `None` where none has.
    #[must_use]
    pub fn of(&self, filter: u32, has_matcher: bool, now_ms: i64) -> Option<FilterActivity> {
        let here = has_matcher.then(|| self.counted(filter, now_ms));
        let elsewhere = lock(&self.elsewhere).counted.get(&filter).copied();
        match (here, elsewhere) {
            (Some(here), Some(elsewhere)) => Some(here.with(&elsewhere)),
            (here, elsewhere) => here.or(elsewhere),
        }
    }

    /// Somebody looks at these filters, so other matchers are to tell what they have counted for them.
    pub(crate) fn look_at(&self, filters: impl Iterator<Item = FilterId>, now_ms: i64) {
        let mut elsewhere = lock(&self.elsewhere);
        for filter in filters {
            if elsewhere.looked_at.len() < ASKED_MAX || elsewhere.looked_at.contains_key(&filter.0) {
                elsewhere.looked_at.insert(filter.0, now_ms);
            }
        }
    }

    /// What this process is to report: the filters that it asks for, and what it has counted for those that others ask
    /// for.
    pub(crate) fn report(&self, has_matcher: bool, now_ms: i64) -> (Vec<u32>, Vec<(u32, FilterActivity)>) {
        let (looked_at, asked) = {
            let mut elsewhere = lock(&self.elsewhere);
            elsewhere.looked_at.retain(|_, at_ms| now_ms - *at_ms <= ASKED_FOR_MS);
            (elsewhere.looked_at.keys().copied().collect(), elsewhere.asked.clone())
        };
        let counted = match has_matcher {
            true => asked.into_iter().map(|filter| (filter, self.counted(filter, now_ms))).collect(),
            false => Vec::new(),
        };
        (looked_at, counted)
    }

    /// Takes what the other instances report.
    pub(crate) fn hear<'a>(&self, reports: impl Iterator<Item = &'a InstanceReport>) {
        let mut elsewhere = lock(&self.elsewhere);
        let Elsewhere { unindexable_filters, asked, counted, .. } = &mut *elsewhere;
        *unindexable_filters = 0;
        asked.clear();
        counted.clear();
        for report in reports {
            *unindexable_filters = report.counts.index.unindexable_filters.max(*unindexable_filters);
            asked.extend(&report.asked);
            for (filter, activity) in &report.counted {
                counted.entry(*filter).and_modify(|sum| *sum = sum.with(activity)).or_insert(*activity);
            }
        }
        asked.sort_unstable();
        asked.dedup();
    }

    /// Filters that only the hard list can hold, here or, where the matchers are other processes, as they last told.
    #[must_use]
    pub fn unindexable_filters(&self) -> u64 {
        lock(&self.elsewhere).unindexable_filters.max(self.index().unindexable_filters)
    }

    /// What this matcher has of the event log.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        lock(&self.assignment).clone()
    }

    /// These partitions are worked on now.
    pub(super) fn hold(&self, partitions: impl Iterator<Item = Partition>) {
        let mut partitions: Vec<u32> = partitions.map(|partition| partition.0).collect();
        partitions.sort_unstable();
        lock(&self.assignment).partitions = partitions;
    }

    pub(super) fn note_rebalance(&self, now_ms: i64) {
        let mut assigned = lock(&self.assignment);
        assigned.rebalances += 1;
        assigned.last_rebalance_ms = Some(now_ms);
    }

    /// What the index said of itself when it last changed.
    #[must_use]
    pub fn index(&self) -> IndexStats {
        *lock(&self.index)
    }

    pub(super) fn note_index(&self, stats: IndexStats) {
        *lock(&self.index) = stats;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An API, and two matchers; each reports and hears the others.
    fn exchange(instances: &[(&Activity, bool)], now_ms: i64) {
        let reports: Vec<InstanceReport> = instances
            .iter()
            .map(|(activity, has_matcher)| {
                let (asked, counted) = activity.report(*has_matcher, now_ms);
                InstanceReport { asked, counted, ..InstanceReport::default() }
            })
            .collect();
        for (at, (activity, _)) in instances.iter().enumerate() {
            activity.hear(reports.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, report)| report));
        }
    }

    #[test]
    fn an_api_without_a_matcher_is_told_what_was_looked_at() {
        let [api, one, other] = [(); 3].map(|()| Activity::default());
        one.count(&[FilterId(1), FilterId(1), FilterId(2)], 1_000);
        other.count(&[FilterId(1)], 2_000);
        let all = [(&api, false), (&one, true), (&other, true)];
        exchange(&all, 2_000);
        exchange(&all, 2_000);
        assert_eq!(api.of(1, false, 2_000), None, "nobody looked");
        api.look_at([FilterId(1), FilterId(3)].into_iter(), 2_000);
        exchange(&all, 2_000);
        exchange(&all, 2_000);
        let told = api.of(1, false, 2_000).unwrap();
        assert_eq!((told.matched_total, told.last_match_ms), (3, Some(2_000)));
        assert_eq!(api.of(3, false, 2_000).unwrap().matched_total, 0, "known to have matched nothing");
        assert_eq!(api.of(2, false, 2_000), None);
        // A matcher that looks has its own count besides.
        one.look_at([FilterId(1)].into_iter(), 2_000);
        exchange(&all, 2_000);
        exchange(&all, 2_000);
        assert_eq!(one.of(1, true, 2_000).unwrap().matched_total, 3);
        // Later nobody looks any more.
        let late_ms = 2_001 + ASKED_FOR_MS;
        exchange(&all, late_ms);
        exchange(&all, late_ms);
        assert_eq!(api.of(1, false, late_ms), None);
    }

    #[test]
    fn only_so_many_are_asked_for() {
        let api = Activity::default();
        api.look_at((0..5_000).map(FilterId), 0);
        assert_eq!(api.report(false, 0).0.len(), ASKED_MAX);
        // What was looked at before stays asked for.
        api.look_at([FilterId(0), FilterId(9_999)].into_iter(), ASKED_FOR_MS);
        assert_eq!(api.report(false, ASKED_FOR_MS + 1).0, [0]);
        api.look_at([FilterId(9_999)].into_iter(), ASKED_FOR_MS + 1);
        assert!(api.report(false, ASKED_FOR_MS + 1).0.contains(&9_999));
    }
}
