//! The cluster: instances by role, partitions of the log with their lag, queue shards. The overview shows them too.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};

use super::table::{self, Column, Rows, column};
use super::ui::Ui;
use crate::app::Screen;
use crate::data::GONE;
use crate::format;
use crate::list::ListCursor;
use crate::theme::Role;

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    if app.expanded || area.height < 14 {
        match app.focus {
            0 => instances(ui, 0, area, buf),
            1 => partitions(ui, 1, area, buf),
            _ => shards(ui, 2, area, buf),
        }
        ui.one_of(area, buf);
        return;
    }
    let rows = u16::try_from(app.instance_rows().len()).unwrap_or(u16::MAX).saturating_add(3);
    let top = rows.clamp(4, area.height / 2);
    let [first, rest] = Layout::vertical([Constraint::Length(top), Constraint::Fill(1)]).areas(area);
    instances(ui, 0, first, buf);
    if area.width >= 76 {
        let [left, right] = Layout::horizontal([Constraint::Percentage(50), Constraint::Fill(1)]).areas(rest);
        partitions(ui, 1, left, buf);
        shards(ui, 2, right, buf);
    } else {
        let [upper, lower] = Layout::vertical([Constraint::Percentage(50), Constraint::Fill(1)]).areas(rest);
        partitions(ui, 1, upper, buf);
        shards(ui, 2, lower, buf);
    }
}

const INSTANCES: [Column; 9] = [
    column("health", 6, 0),
    column("instance", 8, 0).grows(),
    column("roles", 12, 1).grows(),
    column("filters", 9, 2).right(),
    column("partitions", 10, 6),
    column("moved", 8, 7).right(),
    column("conns", 6, 3).right(),
    column("up", 6, 5).right(),
    column("seen", 5, 4).right(),
];

pub(super) fn instances(ui: &mut Ui<'_>, pane: usize, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let rows = app.instance_rows();
    let sick = rows.iter().filter(|i| !i.healthy).count();
    let mut title = vec![(Role::Title, format!("Instances {} ", rows.len()))];
    if sick > 0 {
        title.push((Role::Bad, format!("{} {sick} unhealthy", ui.sym.bad)));
    }
    let newest = app.data().stats.as_ref().map_or(0, |s| s.filter_version);
    let on_cluster = *app.screen() == Screen::Cluster;
    let selected =
        on_cluster.then(|| rows.iter().position(|i| app.cluster.instances.selected.as_ref() == Some(&i.id))).flatten();
    let mut inner = ui.pane(area, buf, pane, &title);
    // What is wrong with the chosen instance has a line of its own: a column would cut it.
    let problem = selected.and_then(|at| rows[at].problem.clone()).or_else(|| {
        let only = rows.iter().find(|i| !i.healthy)?;
        only.problem.as_ref().map(|p| format!("{}: {p}", only.id))
    });
    if let Some(problem) = problem
        && inner.height > 3
    {
        inner.height -= 1;
        ui.put(inner, inner.height, &mut *buf, &[]);
        let line = Rect { y: inner.y + inner.height, height: 1, ..inner };
        ui.put(line, 0, buf, &[(Role::Bad, format!("{} {problem}", ui.sym.bad))]);
    }
    let (good, bad) = (ui.sym.good, ui.sym.bad);
    let cell = |row: usize, c: usize| {
        let i = &rows[row];
        match c {
            0 if i.healthy => (Role::Good, format!("{good} ok")),
            0 if i.problem.as_deref() == Some(GONE) => (Role::Bad, format!("{bad} gone")),
            0 => (Role::Bad, format!("{bad} sick")),
            1 => (Role::Text, i.id.clone()),
            2 => (Role::Text, i.roles.join(" ")),
            // A matcher that has not applied the newest filters is the reason why one is not active yet.
            3 if i.filter_version < newest => {
                (Role::Warn, format!("v{} -{}", i.filter_version, newest - i.filter_version))
            }
            3 => (Role::Text, format!("v{}", i.filter_version)),
            // How many and which: a lone "0" reads as none.
            4 if i.partitions.is_empty() => (Role::Text, String::new()),
            4 => (Role::Text, format!("{} ({})", i.partitions.len(), format::runs(&i.partitions))),
            5 => match i.last_rebalance_ms {
                Some(at_ms) => {
                    let s = format::age_ms(app.now_ms, at_ms);
                    (
                        if s < FRESH_S { Role::Warn } else { Role::Muted },
                        format!("{}x {}", i.rebalances, format::seconds(s)),
                    )
                }
                None => (Role::Muted, ui.sym.none.to_owned()),
            },
            6 => (Role::Text, format::short_count(i.connections)),
            7 => (Role::Muted, format::seconds(i.uptime_s)),
            _ if i.age_s > 5.0 => (Role::Warn, format::seconds(i.age_s)),
            _ => (Role::Muted, format::seconds(i.age_s)),
        }
    };
    let height = usize::from(inner.height.saturating_sub(1));
    let offset = if on_cluster { app.cluster.instances.window(rows.len(), selected, height) } else { 0 };
    let rows = Rows { len: rows.len(), offset, selected, is_marked: &|_| false, cell: &cell };
    table::draw(ui, inner, buf, &INSTANCES, None, &rows);
}

const PARTITIONS: [Column; 7] = [
    column("part", 4, 0).right(),
    column("lag", 6, 0).right(),
    column("", 6, 2).grows(),
    column("matcher", 9, 1),
    column("matched", 10, 3).right(),
    column("high", 10, 4).right(),
    column("low", 9, 5).right(),
];

/// In a narrower pane the name of the topic would be cut to nothing.
const TOPIC_WIDTH: u16 = 50;

/// A rebalance is news for so long, in seconds.
const FRESH_S: f64 = 60.0;

/// The row under the cursor of a pane, and the first row that is shown. Only the cluster's own screen has a cursor.
fn cursor<K: PartialEq + Clone>(
    ui: &Ui<'_>,
    pane: usize,
    list: &ListCursor<K>,
    at: impl Fn(&K) -> Option<usize>,
    len: usize,
    height: u16,
) -> (Option<usize>, usize) {
    let is_here = *ui.app.screen() == Screen::Cluster && ui.app.focus == pane;
    let selected = list.selected.as_ref().and_then(at).filter(|_| is_here);
    (selected, list.window(len, selected, usize::from(height.saturating_sub(1))))
}

pub(super) fn partitions(ui: &mut Ui<'_>, pane: usize, area: Rect, buf: &mut Buffer) {
    let stats = ui.app.data().stats.clone().unwrap_or_default();
    let lag: u64 = stats.partitions.iter().map(|p| p.lag).sum();
    let mut title = vec![
        (Role::Title, format!("Partitions {} ", stats.partitions.len())),
        (if lag > 1000 { Role::Warn } else { Role::Muted }, format!("lag {}", format::count(lag))),
    ];
    if !stats.problems.is_empty() {
        title.push((Role::Bad, "  not of now".into()));
    }
    if let Some(at_ms) = stats.instances.iter().filter_map(|i| i.last_rebalance_ms).max() {
        let s = format::age_ms(ui.app.now_ms, at_ms);
        title.push((if s < FRESH_S { Role::Warn } else { Role::Muted }, format!("  moved {} ago", format::seconds(s))));
    }
    if let Some(topic) = &stats.topic
        && area.width >= TOPIC_WIDTH
    {
        title.push((Role::Muted, format!("  of {topic}")));
    }
    // An older server does not say who has what.
    let says = stats.partitions.iter().any(|p| p.owner.is_some());
    let inner = ui.pane(area, buf, pane, &title);
    let most = stats.partitions.iter().map(|p| p.lag).max().unwrap_or(0).max(100);
    let (bar, empty, none) = (ui.sym.bar, ui.sym.bar_empty, ui.sym.none);
    let width = table::fit(&PARTITIONS, inner.width).iter().find(|(c, _)| *c == 2).map_or(0, |(_, w)| usize::from(*w));
    let cell = |row: usize, c: usize| {
        let p = &stats.partitions[row];
        let role = if p.lag > 1000 { Role::Warn } else { Role::Text };
        match c {
            0 => (Role::Text, p.partition.to_string()),
            1 => (role, format::short_count(p.lag)),
            2 => (role, gauge(p.lag, most, width, bar, empty)),
            3 => match &p.owner {
                Some(owner) => (Role::Text, owner.clone()),
                None if says => (Role::Warn, "nobody".into()),
                None => (Role::Muted, none.to_owned()),
            },
            4 => (Role::Muted, p.matched.to_string()),
            5 => (Role::Muted, p.high.to_string()),
            _ => (Role::Muted, p.low.to_string()),
        }
    };
    let len = stats.partitions.len();
    let at = |chosen: &u32| stats.partitions.iter().position(|p| p.partition == *chosen);
    let (selected, offset) = cursor(ui, pane, &ui.app.cluster.partitions, at, len, inner.height);
    let rows = Rows { len, offset, selected, is_marked: &|_| false, cell: &cell };
    table::draw(ui, inner, buf, &PARTITIONS, None, &rows);
}

const SHARDS: [Column; 6] = [
    column("shard", 5, 0).right(),
    column("depth", 6, 0).right(),
    column("", 6, 2).grows(),
    column("entries", 7, 1).right(),
    column("log", 9, 3).right(),
    column("epoch", 8, 4),
];

pub(super) fn shards(ui: &mut Ui<'_>, pane: usize, area: Rect, buf: &mut Buffer) {
    let stats = ui.app.data().stats.clone().unwrap_or_default();
    let depth: u64 = stats.shards.iter().map(|s| s.depth).sum();
    let title = [
        (Role::Title, format!("Queues {} ", stats.shards.len())),
        (Role::Muted, format!("depth {}", format::count(depth))),
    ];
    let inner = ui.pane(area, buf, pane, &title);
    let most = stats.shards.iter().map(|s| s.depth).max().unwrap_or(0).max(100);
    let (bar, empty) = (ui.sym.bar, ui.sym.bar_empty);
    let width = table::fit(&SHARDS, inner.width).iter().find(|(c, _)| *c == 2).map_or(0, |(_, w)| usize::from(*w));
    let cell = |row: usize, c: usize| {
        let s = &stats.shards[row];
        match c {
            0 => (Role::Text, s.shard.to_string()),
            1 => (Role::Text, format::short_count(s.depth)),
            2 => (Role::Text, gauge(s.depth, most, width, bar, empty)),
            3 => (Role::Text, format::short_count(s.entries)),
            4 => (Role::Muted, format::bytes(s.log_bytes)),
            _ => (Role::Muted, s.epoch.clone()),
        }
    };
    let len = stats.shards.len();
    let at = |chosen: &u16| stats.shards.iter().position(|s| s.shard == *chosen);
    let (selected, offset) = cursor(ui, pane, &ui.app.cluster.shards, at, len, inner.height);
    let rows = Rows { len, offset, selected, is_marked: &|_| false, cell: &cell };
    table::draw(ui, inner, buf, &SHARDS, None, &rows);
}

fn gauge(value: u64, most: u64, width: usize, bar: &str, empty: &str) -> String {
    let full = usize::try_from(value.saturating_mul(width as u64).div_ceil(most.max(1))).unwrap_or(width).min(width);
    bar.repeat(full) + &empty.repeat(width - full)
}
