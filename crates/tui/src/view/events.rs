//! Events, live: the list, and the detail of the one under the cursor.

use std::sync::Arc;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};

use super::subscribers::find_title;
use super::table::{self, Column, Rows, column};
use super::ui::Ui;
use crate::app::events::detail_lines;
use crate::data::EventRow;
use crate::format;
use crate::json;
use crate::message::{StreamState, Topic};
use crate::theme::Role;

const COLUMNS: [Column; 8] = [
    column("time", 12, 1),
    column("position", 12, 3),
    column("type", 12, 0),
    column("user", 10, 0),
    column("tier", 8, 4),
    column("amount", 8, 2).right(),
    column("filters", 7, 5),
    column("event", 12, 6).grows(),
];

/// Fields with a column of their own.
const OWN: [&str; 4] = ["event_type", "user_id", "user_tier", "amount"];

/// Room for a line with a UUID: `  "event_id": "…",` in its frame.
const DETAIL_WIDTH: u16 = 56;

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let rows = app.event_rows();
    if !app.events.detail {
        list(ui, 0, area, buf, &rows);
        return;
    }
    if app.expanded || area.width < 76 {
        if app.focus == 0 && (app.expanded || app.is_short()) {
            list(ui, 0, area, buf, &rows);
        } else if app.expanded || app.is_short() {
            detail(ui, 1, area, buf);
        } else {
            let [upper, lower] = Layout::vertical([Constraint::Percentage(45), Constraint::Fill(1)]).areas(area);
            list(ui, 0, upper, buf, &rows);
            detail(ui, 1, lower, buf);
        }
        return;
    }
    let right = (area.width * 45 / 100).max(DETAIL_WIDTH.min(area.width / 2));
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(right)]).areas(area);
    list(ui, 0, left, buf, &rows);
    detail(ui, 1, right, buf);
}

/// The newest events as a pane of another screen: it always follows.
pub(super) fn draw_small(ui: &mut Ui<'_>, pane: usize, area: Rect, buf: &mut Buffer) {
    let ring = &ui.app.data().events;
    let title = vec![(Role::Title, "Live events ".to_owned()), stream_state(ui)];
    let inner = ui.pane(area, buf, pane, &title);
    let room = usize::from(inner.height.saturating_sub(1));
    let rows: Vec<Arc<EventRow>> = ring.rows().iter().skip(ring.rows().len().saturating_sub(room)).cloned().collect();
    if rows.is_empty() {
        ui.note(inner, buf, Role::Muted, "no event since this was opened; v shows them full screen");
        return;
    }
    table_of(ui, inner, buf, &rows, 0, None);
}

fn list(ui: &mut Ui<'_>, pane: usize, area: Rect, buf: &mut Buffer, rows: &[Arc<EventRow>]) {
    let app = ui.app;
    let inner = ui.pane(area, buf, pane, &title(ui, rows.len()));
    if rows.is_empty() {
        let failure = app.data().failures.get(&Topic::Events);
        let text = match (failure, &app.data().events.state) {
            (Some(failure), _) => ui.failure(failure),
            (None, StreamState::Opening) => "opening the stream".into(),
            (None, StreamState::Lost(why)) => format!("the stream is lost and comes again: {why}"),
            (None, StreamState::Open) if app.events.find.is_active() => {
                "no event matches; esc clears the filter".into()
            }
            (None, StreamState::Open) if app.events.query.where_.is_some() => {
                "no event of this condition yet; w changes it".into()
            }
            (None, StreamState::Open) => "no event yet; `evs produce` makes some".into(),
        };
        ui.note(inner, buf, Role::Muted, &text);
        return;
    }
    let height = usize::from(inner.height.saturating_sub(1));
    let is_held = app.events.held.is_some();
    let selected = if is_held {
        rows.iter().position(|row| app.events.list.selected == Some(row.n))
    } else {
        Some(rows.len() - 1)
    };
    let offset = app.events.list.window(rows.len(), selected, height);
    table_of(ui, inner, buf, rows, offset, selected.filter(|_| is_held));
}

fn table_of(
    ui: &mut Ui<'_>,
    area: Rect,
    buf: &mut Buffer,
    rows: &[Arc<EventRow>],
    offset: usize,
    selected: Option<usize>,
) {
    // Only rows that are seen are parsed, once for all their columns.
    let seen = usize::from(area.height);
    let parsed: Vec<[String; 4]> =
        rows.iter().skip(offset).take(seen).map(|row| json::fields(&row.event.json, OWN)).collect();
    let app = ui.app;
    let this: &Ui<'_> = ui;
    let cell = |row: usize, c: usize| {
        let event = &rows[row].event;
        let field = |at: usize| parsed.get(row - offset).map(|f| f[at].clone()).unwrap_or_default();
        match c {
            0 => (Role::Muted, this.time(event.time_ms)),
            1 => {
                let name = event.position.clone().or_else(|| event.seq.map(|seq| format!("#{seq}")));
                (Role::Muted, name.unwrap_or_default())
            }
            2 => (Role::Text, field(0)),
            3 => (Role::Text, field(1)),
            4 => (Role::Text, field(2)),
            5 => (Role::JsonNumber, field(3)),
            6 => (Role::Muted, event.filters.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
            _ => (Role::Muted, json::brief(&event.json, &OWN)),
        }
    };
    let is_marked = |row: usize| app.events.marks.contains(&rows[row].n);
    let table_rows = Rows { len: rows.len(), offset, selected, is_marked: &is_marked, cell: &cell };
    let mut out = Ui::new(app);
    table::draw(&mut out, area, buf, &COLUMNS, None, &table_rows);
    ui.take_hits(out);
}

fn stream_state(ui: &Ui<'_>) -> (Role, String) {
    match &ui.app.data().events.state {
        StreamState::Opening => (Role::Warn, format!("{} opening ", ui.sym.new)),
        StreamState::Open => (Role::Good, format!("{} live ", ui.sym.good)),
        StreamState::Lost(_) => (Role::Bad, format!("{} lost ", ui.sym.bad)),
    }
}

fn title(ui: &Ui<'_>, shown: usize) -> Vec<(Role, String)> {
    let app = ui.app;
    let ring = &app.live.events;
    let mut title = vec![(Role::Title, "Events".to_owned())];
    match &app.events.query.subscriber {
        Some(id) => title.extend([(Role::Muted, ui.sym.crumb.to_owned()), (Role::Title, format!("{id} "))]),
        None => title.push((Role::Muted, " all ".into())),
    }
    title.push(stream_state(ui));
    match &app.events.held {
        Some(held) => {
            let new = ring.arrived.saturating_sub(held.arrived);
            title.push((Role::Badge, format!(" {} new below: G ", format::count(new))));
        }
        None => title.push((Role::Muted, format!("following, {} came ", format::count(ring.of_query())))),
    }
    let dropped = ring.dropped_here + ring.dropped_by_server;
    if dropped > 0 {
        let by = match (ring.dropped_here, ring.dropped_by_server) {
            (_, 0) => "",
            (0, _) => " by the server",
            _ => " here and by the server",
        };
        title.push((Role::Warn, format!(" {} left out{by}", format::count(dropped))));
    }
    if let Some(condition) = &app.events.query.where_ {
        title.push((Role::Found, format!(" where {condition}")));
    }
    find_title(&mut title, &app.events.find, shown, false);
    title
}

fn detail(ui: &mut Ui<'_>, pane: usize, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let inner = ui.pane(area, buf, pane, &[(Role::Title, "Detail".to_owned())]);
    let Some(row) = app.selected_event() else {
        ui.note(inner, buf, Role::Muted, "no event");
        return;
    };
    let event = &row.event;
    let mut head: Vec<Vec<(Role, String)>> = Vec::new();
    let mut place = vec![(Role::Muted, "position ".to_owned())];
    place.push((Role::Text, event.position.clone().unwrap_or_else(|| ui.sym.none.into())));
    if let Some(seq) = event.seq {
        place.extend([(Role::Muted, "  seq ".into()), (Role::Text, seq.to_string())]);
    }
    place.extend([(Role::Muted, "  ".into()), (Role::Text, ui.time(event.time_ms))]);
    place.push((Role::Muted, format!("  {}", format::bytes(event.json.len() as u64))));
    let headers = app.headers_of(event);
    if let Some(headers) = headers {
        let n = headers.headers.len() + headers.left_out as usize;
        place.push((Role::Muted, format!("  {n} header{}", if n == 1 { "" } else { "s" })));
    }
    head.push(place);
    if !event.filters.is_empty() {
        let ids: Vec<String> = event.filters.iter().map(u32::to_string).collect();
        head.push(vec![(Role::Muted, "matched filters ".into()), (Role::Title, ids.join(", "))]);
    } else if app.events.query.subscriber.is_none() {
        head.push(vec![(Role::Muted, "x tells why a subscriber did or did not get it".into())]);
    }
    for (at, line) in head.iter().enumerate() {
        ui.put(inner, u16::try_from(at).unwrap_or(0), buf, line);
    }
    let used = u16::try_from(head.len()).unwrap_or(0).min(inner.height);
    let body = Rect { y: inner.y + used, height: inner.height - used, ..inner };
    let lines = detail_lines(event, headers);
    let last = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(body.height.max(1));
    let top = app.events.detail_scroll.min(last);
    let mut y = 0;
    for line in lines.iter().skip(usize::from(top)) {
        let pieces = highlight(line, &app.events.find.found(&json::text(line)));
        for part in broken(pieces, usize::from(body.width)) {
            if y >= body.height {
                return;
            }
            ui.put(body, y, buf, &part);
            y += 1;
        }
    }
}

/// A line on as many lines as it takes: an id is copied by eye too.
fn broken(pieces: json::Line, width: usize) -> Vec<json::Line> {
    let width = width.max(4);
    let mut lines = vec![json::Line::new()];
    let mut room = width;
    for (role, text) in pieces {
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let fits = format::cut(rest, room, "");
            let n = fits.chars().count();
            if n == 0 {
                lines.push(json::Line::new());
                room = width;
                continue;
            }
            let end = rest.char_indices().nth(n).map_or(rest.len(), |(at, _)| at);
            lines.last_mut().expect("one at least").push((role, rest[..end].to_owned()));
            room = room.saturating_sub(format::width(&fits));
            rest = &rest[end..];
        }
    }
    lines
}

/// The line with what the filter finds in it set apart.
fn highlight(line: &json::Line, found: &[(usize, usize)]) -> json::Line {
    if found.is_empty() {
        return line.clone();
    }
    let mut out = Vec::new();
    let mut at = 0;
    for (role, text) in line {
        let mut from = 0;
        for (i, _) in text.char_indices().chain([(text.len(), ' ')]) {
            let inside = |p: usize| found.iter().any(|(a, b)| p >= *a && p < *b);
            let ends = i == text.len() || (i > 0 && inside(at + i) != inside(at + i - 1));
            if ends && i > from {
                let role = if inside(at + from) { Role::Found } else { *role };
                out.push((role, text[from..i].to_owned()));
                from = i;
            }
        }
        at += text.len();
    }
    out
}
