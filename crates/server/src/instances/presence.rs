//! Which processes have gone, as lines for the operator's log: one that was killed says nothing itself.

use std::collections::BTreeMap;

use crate::ports::filter_store::InstanceReport;

/// Per process its roles, and the connections that it had when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Presence(BTreeMap<String, (String, u64)>);

impl Presence {
    /// Who reported before and does so no more, whether it was stopped or died.
    pub(super) fn lost(&mut self, reports: &[InstanceReport]) -> Vec<String> {
        let now = reports.iter().map(|report| (report.id.clone(), (report.roles.join(", "), report.connections)));
        let before = std::mem::replace(&mut self.0, now.collect());
        let gone = before.into_iter().filter(|(id, _)| !self.0.contains_key(id));
        gone.map(|(id, (roles, connections))| match connections {
            0 => format!("{roles} {id} reports no more"),
            1 => format!("{roles} {id} reports no more; it had 1 connection"),
            n => format!("{roles} {id} reports no more; it had {n} connections"),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_gone_is_told_once() {
        let report = |id: &str, role: &str, connections| InstanceReport {
            id: id.to_owned(),
            roles: vec![role.to_owned()],
            connections,
            ..InstanceReport::default()
        };
        let all = [report("a", "gateway", 2), report("b", "matcher", 0)];
        let mut presence = Presence::default();
        assert!(presence.lost(&all).is_empty());
        assert_eq!(presence.lost(&all[1..]), ["gateway a reports no more; it had 2 connections"]);
        assert!(presence.lost(&all[1..]).is_empty(), "once");
        assert!(presence.lost(&all).is_empty(), "it is back, which it tells itself");
        assert_eq!(presence.lost(&all[..1]), ["matcher b reports no more"]);
    }
}
