//! The overview: counters, throughput and latency over time, partitions, queues, instances.
//!
//! ```text
//! wide and normal              narrow: one pane, Tab goes on
//! counters                     counters
//! throughput     | latency     throughput
//! partitions | queues | instances
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};

use super::charts::{self, Series};
use super::cluster;
use super::ui::{Ui, split_top, wrap};
use crate::format;
use crate::message::Connection;
use crate::theme::Role;

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    if app.data().stats.is_none() {
        waiting(ui, area, buf);
        return;
    }
    if app.expanded {
        pane(ui, app.focus, area, buf);
        ui.one_of(area, buf);
        return;
    }
    let counters = counters(ui);
    let is_narrow = area.width < 76 || area.height < 16;
    let width = usize::from(area.width);
    let text: String = counters.iter().map(|(_, t)| t.as_str()).collect();
    let most = if is_narrow { 2 } else { 3 };
    let lines = u16::try_from(wrap(&text, width).len()).unwrap_or(most).min(most);
    let (top, rest) = split_top(area, lines);
    put_wrapped(ui, top, buf, &counters);
    if is_narrow {
        pane(ui, app.focus.min(4), rest, buf);
        ui.one_of(rest, buf);
        return;
    }
    let [charts, tables] = Layout::vertical([Constraint::Percentage(60), Constraint::Fill(1)]).areas(rest);
    let [left, right] = Layout::horizontal([Constraint::Percentage(60), Constraint::Fill(1)]).areas(charts);
    pane(ui, 0, left, buf);
    pane(ui, 1, right, buf);
    let thirds = [Constraint::Percentage(34), Constraint::Percentage(33), Constraint::Fill(1)];
    let [left, middle, right] = Layout::horizontal(thirds).areas(tables);
    pane(ui, 2, left, buf);
    pane(ui, 3, middle, buf);
    pane(ui, 4, right, buf);
}

fn pane(ui: &mut Ui<'_>, pane: usize, area: Rect, buf: &mut Buffer) {
    match pane {
        0 => throughput(ui, area, buf),
        1 => latency(ui, area, buf),
        2 => cluster::partitions(ui, 2, area, buf),
        3 => cluster::shards(ui, 3, area, buf),
        _ => cluster::instances(ui, 4, area, buf),
    }
}

fn throughput(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let last = ui.app.data().history.last().copied().unwrap_or_default();
    let matched = last.matched_per_s.map_or_else(|| ui.sym.none.to_owned(), |m| ui.rate(m));
    let title = [
        (Role::Title, "Throughput ".to_owned()),
        (Role::SeriesIn, format!("in {} ", ui.rate(last.in_per_s))),
        (Role::SeriesMatched, format!("matched {matched} ")),
        (Role::SeriesDelivered, format!("delivered {} ", ui.rate(last.delivered_per_s))),
        (Role::Muted, format!("last {}", format::span(f64::from(ui.app.window_s)))),
    ];
    let inner = ui.pane(area, buf, 0, &title);
    let series = [
        Series { role: Role::SeriesDelivered, letter: 'd', value: &|p| Some(p.delivered_per_s) },
        Series { role: Role::SeriesMatched, letter: 'm', value: &|p| p.matched_per_s },
        Series { role: Role::SeriesIn, letter: 'i', value: &|p| Some(p.in_per_s) },
    ];
    charts::draw(ui, inner, buf, &series, format::short);
}

fn latency(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let last = ui.app.data().history.last().copied().unwrap_or_default();
    let title = [
        (Role::Title, "Latency ".to_owned()),
        (Role::SeriesDelivered, format!("p50 {} ", format::millis(last.p50_ms))),
        (Role::SeriesIn, format!("p95 {} ", format::millis(last.p95_ms))),
        (Role::SeriesMatched, format!("p99 {}", format::millis(last.p99_ms))),
    ];
    let inner = ui.pane(area, buf, 1, &title);
    let series = [
        Series { role: Role::SeriesMatched, letter: '9', value: &|p| Some(p.p99_ms) },
        Series { role: Role::SeriesIn, letter: '5', value: &|p| Some(p.p95_ms) },
        Series { role: Role::SeriesDelivered, letter: '0', value: &|p| Some(p.p50_ms) },
    ];
    charts::draw(ui, inner, buf, &series, format::millis);
}

fn counters(ui: &Ui<'_>) -> Vec<(Role, String)> {
    let Some(stats) = &ui.app.data().stats else { return Vec::new() };
    let mut out: Vec<(Role, String)> = Vec::new();
    let mut add = |label: &str, value: u64, bad: bool| {
        out.push((Role::Muted, format!("{label} ")));
        out.push((if bad && value > 0 { Role::Warn } else { Role::Title }, format!("{}  ", format::count(value))));
    };
    add("connections", stats.connections, false);
    add("subscribers", stats.subscribers, false);
    add("behind", stats.subscribers_behind, true);
    add("filters", stats.filters, false);
    add("version", stats.filter_version, false);
    add("gaps", stats.gaps_total, true);
    add("dropped", stats.dropped_total, true);
    add("dead letters", stats.dead_letters_total, true);
    add("unindexed filters", stats.index.unindexable_filters, true);
    out.push((Role::Muted, "index ".into()));
    out.push((Role::Title, format::bytes(stats.index.memory_bytes)));
    out.push((Role::Muted, format!("  {} {}", stats.mode, stats.version)));
    out
}

/// Pairs of label and value, broken between pairs.
fn put_wrapped(ui: &Ui<'_>, area: Rect, buf: &mut Buffer, pieces: &[(Role, String)]) {
    // Blanks at the end of a line that is full would show as a cut, which makes another number of the last one.
    let mut put = |row, mut line: Vec<(Role, String)>| {
        if let Some((_, last)) = line.last_mut() {
            last.truncate(last.trim_end().len());
        }
        ui.put(area, row, buf, &line);
    };
    let mut row = 0;
    let mut line: Vec<(Role, String)> = Vec::new();
    let mut used = 0;
    for pair in pieces.chunks(2) {
        let width: usize = pair.iter().map(|(_, t)| format::width(t)).sum();
        let seen: usize = pair.iter().map(|(_, t)| format::width(t.trim_end())).sum();
        if used + seen > usize::from(area.width) && !line.is_empty() {
            put(row, std::mem::take(&mut line));
            used = 0;
            row += 1;
        }
        used += width;
        line.extend(pair.iter().cloned());
    }
    put(row, line);
}

/// Before the first report: what it waits for, and what to try.
fn waiting(ui: &Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let server = &app.settings.server;
    let text = match &app.connection {
        Connection::Connecting => format!("connecting to {server}"),
        Connection::Connected => "connected; waiting for the first report".to_owned(),
        Connection::Retrying { attempt, at_ms, why } => {
            let s = ((at_ms - app.now_ms).max(0) + 999) / 1000;
            format!(
                "no answer from {server}\n{why}\nattempt {attempt}, again in {s}s\n \nIs the server running? \
                 `evs-server` starts one; `--server` or `EVS_SERVER` names another; `--demo` needs none."
            )
        }
        Connection::Refused { why, .. } => format!(
            "{server} is there, but does not let us in\n{why}\n \nGive a token with --token-file or EVS_TOKEN; \
             it needs to be an operator's."
        ),
    };
    ui.note(area, buf, Role::Text, &text);
}
