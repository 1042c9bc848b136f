//! Which partitions went to which matcher, as lines for the operator's log: every process sees all reports, so whichever
//! is asked can tell.

use std::collections::BTreeMap;

use evs_api::oplog::Level;

use crate::config::Role;
use crate::ports::filter_store::{Assignment, InstanceReport};

/// What the matchers had when they were last looked at; `None` before the first look, which only takes note.
#[derive(Debug, Default)]
pub(super) struct Assignments(Option<BTreeMap<String, Assignment>>);

impl Assignments {
    /// What has changed since the last look. A log without a group has no rebalances, and is not told.
    pub(super) fn changes(&mut self, reports: &[InstanceReport]) -> Vec<(Level, String)> {
        let of_group = reports.iter().filter(|report| report.assignment.rebalances > 0);
        let mut now: BTreeMap<_, _> = of_group.map(|report| (report.id.clone(), report.assignment.clone())).collect();
        // A matcher that is here and has no assignment yet, or none that it reports now, is not gone.
        let quiet = |id: &str| reports.iter().any(|report| report.id == id && is_matcher(report));
        let kept = self.0.iter().flatten().filter(|(id, _)| quiet(id) && !now.contains_key(*id));
        let kept: Vec<_> = kept.map(|(id, had)| (id.clone(), had.clone())).collect();
        now.extend(kept);
        let Some(before) = self.0.replace(now.clone()) else { return Vec::new() };
        let mut changes = Vec::new();
        for (id, Assignment { partitions, rebalances, .. }) in &now {
            let had = before.get(id).cloned().unwrap_or_default();
            let message = match (had.partitions == *partitions, had.rebalances == *rebalances) {
                (true, true) => continue,
                // It was given something that it has not taken up yet.
                (true, false) if partitions.is_empty() => continue,
                (true, false) => format!("matcher {id} works on {} as before", listed(partitions)),
                (false, _) => {
                    format!("matcher {id} works on {}; before: {}", listed(partitions), listed(&had.partitions))
                }
            };
            changes.push((Level::Info, message));
        }
        for (id, had) in before.iter().filter(|(id, had)| !now.contains_key(*id) && !had.partitions.is_empty()) {
            let message = format!("matcher {id} reports no more; it worked on {}", listed(&had.partitions));
            changes.push((Level::Warn, message));
        }
        changes
    }
}

fn is_matcher(report: &InstanceReport) -> bool {
    report.roles.iter().any(|role| role == Role::Matcher.name())
}

/// `partitions 0-3, 7`.
fn listed(partitions: &[u32]) -> String {
    let runs: Vec<String> = partitions
        .chunk_by(|left, right| left + 1 == *right)
        .map(|run| match run {
            [only] => only.to_string(),
            run => format!("{}-{}", run[0], run[run.len() - 1]),
        })
        .collect();
    match partitions {
        [] => "no partition".to_owned(),
        [only] => format!("partition {only}"),
        _ => format!("partitions {}", runs.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(id: &str, rebalances: u64, partitions: &[u32]) -> InstanceReport {
        let assignment = Assignment { partitions: partitions.to_vec(), rebalances, last_rebalance_ms: Some(1) };
        InstanceReport { id: id.to_owned(), roles: vec!["matcher".to_owned()], assignment, ..InstanceReport::default() }
    }

    #[test]
    fn what_moves_is_told_once() {
        let mut assignments = Assignments::default();
        let mut told = |reports: &[InstanceReport]| -> Vec<String> {
            assignments.changes(reports).into_iter().map(|(_, message)| message).collect()
        };
        assert!(told(&[report("a", 1, &[0, 1, 2, 3, 7])]).is_empty(), "what was so before is no news");
        assert!(told(&[report("a", 1, &[0, 1, 2, 3, 7])]).is_empty());
        assert!(told(&[report("a", 1, &[0, 1, 2, 3, 7]), report("b", 1, &[])]).is_empty(), "not taken up yet");
        assert_eq!(
            told(&[report("a", 2, &[0, 1, 2, 3]), report("b", 1, &[7])]),
            [
                "matcher a works on partitions 0-3; before: partitions 0-3, 7",
                "matcher b works on partition 7; before: no partition"
            ]
        );
        assert_eq!(
            told(&[report("a", 4, &[0, 1, 2, 3]), report("b", 1, &[7])]),
            ["matcher a works on partitions 0-3 as before"]
        );
        assert!(
            told(&[report("a", 0, &[]), report("b", 1, &[7])]).is_empty(),
            "it is here, and has yet to say what it has"
        );
        assert!(told(&[report("a", 4, &[0, 1, 2, 3]), report("b", 1, &[7])]).is_empty());
        assert_eq!(told(&[report("b", 1, &[7])]), ["matcher a reports no more; it worked on partitions 0-3"]);
        assert!(told(&[report("b", 1, &[7])]).is_empty());
    }

    #[test]
    fn a_log_without_a_group_is_not_told() {
        let mut assignments = Assignments::default();
        for partitions in [&[][..], &[0], &[]] {
            assert_eq!(assignments.changes(&[report("a", 0, partitions)]), []);
        }
    }
}
