//! What happened at other instances, for the operator's log of this one: each report has the newest entries of its writer.

use std::collections::HashMap;

use evs_api::oplog::{Level, LogEntry};

use crate::ports::filter_store::InstanceReport;

/// Looks without a report after which an instance is forgotten; by then none of its entries is reported any more.
const LOOKS_MAX: u32 = 60;

/// Per instance the number of its last entry that was taken, and the looks since it reported.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(HashMap<String, (u64, u32)>);

impl Elsewhere {
    /// What is new in the reports of the others, oldest first.
    pub(super) fn news(&mut self, own: &str, reports: &[InstanceReport]) -> Vec<LogEntry> {
        self.0.retain(|_, (_, looks)| {
            *looks += 1;
            *looks <= LOOKS_MAX
        });
        let mut news = Vec::new();
        for report in reports.iter().filter(|report| report.id != own) {
            let (taken, looks) = self.0.entry(report.id.clone()).or_default();
            *looks = 0;
            let Some(first) = report.log.iter().find(|entry| entry.id > *taken) else { continue };
            let left_out = first.id - *taken - 1;
            // Before the first report that was seen everything may have been long ago.
            if *taken > 0 && left_out > 0 {
                let message = format!("{left_out} more entries came too fast to be reported");
                let (kind, instance) = ("log_cut".to_owned(), Some(report.id.clone()));
                let (level, time_ms) = (Level::Warn, first.time_ms);
                news.push(LogEntry { id: 0, time_ms, level, kind, subscriber: None, instance, message });
            }
            news.extend(report.log.iter().filter(|entry| entry.id > *taken).cloned());
            *taken = report.log.last().map_or(*taken, |entry| entry.id);
        }
        news.sort_by_key(|entry| entry.time_ms);
        news
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;
    use crate::clock::Clock;
    use crate::oplog::OpLog;

    fn report(id: &str, log: &OpLog) -> InstanceReport {
        InstanceReport { id: id.to_owned(), log: log.recent(), ..InstanceReport::default() }
    }

    #[test]
    fn what_happened_elsewhere_is_told_once() {
        let time_ms = Arc::new(AtomicI64::new(1_000));
        let clock = Clock::new({
            let time_ms = time_ms.clone();
            move || time_ms.load(Ordering::Relaxed)
        });
        let [a, b] = ["a", "b"].map(|id| OpLog::new(clock.clone(), Arc::from(id)));
        let mut elsewhere = Elsewhere::default();
        let mut told = |reports: &[InstanceReport]| {
            a.copy(elsewhere.news("a", reports));
            let entries = a.after(0, 100);
            entries.into_iter().map(|entry| (entry.instance.unwrap_or_default(), entry.message)).collect::<Vec<_>>()
        };
        let pair = |instance: &str, message: &str| (instance.to_owned(), message.to_owned());
        a.write(Level::Info, "started", None, "own");
        b.write(Level::Info, "started", None, "first");
        let both = || [report("a", &a), report("b", &b)];
        assert_eq!(told(&both()), [pair("a", "own"), pair("b", "first")]);
        assert_eq!(told(&both()).len(), 2, "once");
        // What is common is found out by everybody, and goes to nobody.
        b.write_common(Level::Info, "rebalance", "common");
        b.write(Level::Warn, "gap", Some("user_1"), "second");
        assert_eq!(told(&both()).last(), Some(&pair("b", "second")));
        // It was away for a while, and says again what it has said.
        assert_eq!(told(&[report("a", &a)]).len(), 3);
        assert_eq!(told(&both()).len(), 3);
        for n in 0..40 {
            b.write(Level::Warn, "gap", None, n.to_string());
        }
        let entries = told(&both());
        assert_eq!(entries.len(), 3 + 1 + 32);
        assert!(entries[3].1.starts_with("8 more entries"), "{:?}", entries[3]);
        assert_eq!(entries.last(), Some(&pair("b", "39")));
        time_ms.store(100_000, Ordering::Relaxed);
        assert!(b.recent().is_empty(), "what is old is reported no more");
    }
}
