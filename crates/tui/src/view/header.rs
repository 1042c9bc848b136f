//! The line that is always there: connection, age of the data, rates, who is behind; and the tabs.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ui::Ui;
use crate::app::App;
use crate::app::nav::TABS;
use crate::format;
use crate::keymap::Action;
use crate::message::{Connection, Target};
use crate::theme::Role;

/// A part of the line: rank (0 stays longest) and pieces.
type Part = (u8, Vec<(Role, String)>);

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let mut parts: Vec<Part> =
        vec![(2, vec![(app.settings.target_role, app.settings.target.clone())]), (0, connection(ui))];
    if app.settings.read_only {
        parts.push((4, vec![(Role::Muted, "read-only".into())]));
    }
    if let Some(paused) = &app.paused {
        let new = app.live.events.arrived.saturating_sub(paused.data.events.arrived);
        let for_s = format::seconds(format::age_ms(app.now_ms, paused.since_ms));
        let mut text = format!(" PAUSED {for_s}");
        if new > 0 {
            text.push_str(&format!(", {} new", format::count(new)));
        }
        text.push(' ');
        parts.push((0, vec![(Role::Badge, text)]));
    }
    if let Some(stats) = &app.live.stats {
        for problem in &stats.problems {
            let short = problem.split(';').next().unwrap_or(problem);
            parts.push((1, vec![(Role::Badge, format!(" ! {short} "))]));
        }
        for alert in app.alerts.raised(stats) {
            parts.push((1, vec![(Role::Badge, format!(" ! {alert} "))]));
        }
        let age = app.data_at_ms.map_or(0.0, |at| format::age_ms(app.now_ms, at));
        let is_old = app.is_stale() || app.connection != Connection::Connected;
        let role = if is_old { Role::Bad } else { Role::Muted };
        parts.push((if is_old { 1 } else { 5 }, vec![(role, format!("age {}", format::seconds(age)))]));
        let matched = app.live.history.last().and_then(|p| p.matched_per_s);
        let number = |label: &str, value: String, role| vec![(Role::Muted, format!("{label} ")), (role, value)];
        parts.push((3, number("in", ui.rate(stats.events_in_per_s), Role::SeriesIn)));
        if let Some(matched) = matched {
            parts.push((5, number("matched", ui.rate(matched), Role::SeriesMatched)));
        }
        parts.push((4, number("delivered", ui.rate(stats.deliveries_sent_per_s), Role::SeriesDelivered)));
        let role = if stats.subscribers_behind > 0 { Role::Warn } else { Role::Good };
        parts.push((1, number("behind", format::short_count(stats.subscribers_behind), role)));
        let dropped = stats.dropped_total + app.live.events.dropped_here + app.live.events.dropped_by_server;
        let role = if dropped > 0 { Role::Warn } else { Role::Muted };
        parts.push((if dropped > 0 { 2 } else { 5 }, number("dropped", format::short_count(dropped), role)));
        parts.push((6, number("up", format::seconds(stats.uptime_s), Role::Muted)));
    }
    let gap = if area.width < 100 { "  " } else { ui.sym.dot };
    let line = fit(parts, area.width.into(), format::width(gap));
    let mut pieces = Vec::new();
    for (at, part) in line.into_iter().enumerate() {
        if at > 0 {
            pieces.push((Role::Muted, gap.to_owned()));
        }
        pieces.extend(part);
    }
    ui.put(area, 0, buf, &pieces);
}

/// Glyph and words, so that it reads without colour.
fn connection(ui: &Ui<'_>) -> Vec<(Role, String)> {
    let app = ui.app;
    let wait = |at_ms: i64| {
        let s = (at_ms - app.now_ms).max(0);
        format!("{}s", (s + 999) / 1000)
    };
    match &app.connection {
        Connection::Connecting => vec![(Role::Warn, format!("{} connecting", ui.sym.new))],
        Connection::Connected if app.is_stale() => vec![(Role::Warn, format!("{} silent", ui.sym.slow))],
        Connection::Connected => vec![(Role::Good, format!("{} connected", ui.sym.good))],
        Connection::Retrying { attempt, at_ms, why } => vec![
            (Role::Bad, format!("{} retrying in {} (attempt {attempt})", ui.sym.bad, wait(*at_ms))),
            (Role::Muted, format!(": {why}")),
        ],
        Connection::Refused { at_ms, why } => vec![
            (Role::Bad, format!("{} refused", ui.sym.bad)),
            (Role::Muted, format!(": {why}; again in {}", wait(*at_ms))),
        ],
    }
}

/// Leaves out parts by rank until the line fits.
fn fit(mut parts: Vec<Part>, width: usize, gap: usize) -> Vec<Vec<(Role, String)>> {
    let size = |parts: &[Part]| {
        let text: usize = parts.iter().flat_map(|(_, pieces)| pieces).map(|(_, t)| format::width(t)).sum();
        text + gap * parts.len().saturating_sub(1)
    };
    while parts.len() > 1 && size(&parts) > width {
        let Some(at) = (0..parts.len()).rev().max_by_key(|at| parts[*at].0) else { break };
        if parts[at].0 == 0 {
            break;
        }
        parts.remove(at);
    }
    parts.into_iter().map(|(_, pieces)| pieces).collect()
}

/// The keys 1 to 7 with their names; only numbers for the others where the line is short.
pub(super) fn draw_tabs(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    const ACTIONS: [Action; 7] = [
        Action::ViewOverview,
        Action::ViewSubscribers,
        Action::ViewEvents,
        Action::ViewFilters,
        Action::ViewLog,
        Action::ViewDeadLetters,
        Action::ViewCluster,
    ];
    let app: &App = ui.app;
    let active = app.screen().tab();
    let keys = ACTIONS.map(|a| app.keymap.key_of(a, &[crate::keymap::Context::Global]));
    let titles: usize = TABS.iter().zip(&keys).map(|(t, k)| t.title().len() + k.len() + 1).sum();
    let room = usize::from(area.width);
    // With room around them, close together, or numbers only but for the active one.
    let (is_long, pad) = (titles + 7 <= room, if titles + 7 * 3 <= room { " " } else { "" });
    let mut x = area.x;
    for (at, (tab, key)) in TABS.iter().zip(keys).enumerate() {
        let is_active = at == active;
        let text = match is_long {
            true => format!("{pad}{key} {}{pad}", tab.title()),
            false if is_active => format!(" {key} {} ", tab.title()),
            false => format!(" {key} "),
        };
        let width = u16::try_from(format::width(&text)).unwrap_or(0).min(area.right().saturating_sub(x));
        let cut = format::cut(&text, width.into(), ui.sym.ellipsis);
        buf.set_string(x, area.y, cut, ui.style(if is_active { Role::TabActive } else { Role::Tab }));
        ui.hit(Rect { x, y: area.y, width, height: 1 }, Target::Action(ACTIONS[at]));
        x += width + u16::from(is_long);
    }
}
