//! One subscriber: its state and lag, its consumers and cursors, its filters with their match rates, its live events.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};

use super::table::{self, Column, Rows, column};
use super::ui::{Ui, split_top};
use super::{events, filters, subscribers};
use crate::app::lists::predicate;
use crate::format;
use crate::message::Topic;
use crate::theme::Role;

pub(super) fn draw(ui: &mut Ui<'_>, id: &str, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let (top, rest) = split_top(area, if area.height >= 16 { 3 } else { 2 });
    summary(ui, id, top, buf);
    if app.opened().is_none() {
        let text = match app.data().failures.get(&Topic::Detail) {
            Some(failure) => ui.failure(failure),
            None => "asking the server".into(),
        };
        ui.note(rest, buf, Role::Muted, &text);
        return;
    }
    if app.expanded || rest.height < 13 {
        match app.focus {
            0 => consumers(ui, rest, buf),
            1 => own_filters(ui, rest, buf),
            _ => events::draw_small(ui, 2, rest, buf),
        }
        ui.one_of(rest, buf);
        return;
    }
    let [upper, lower] = Layout::vertical([Constraint::Percentage(45), Constraint::Fill(1)]).areas(rest);
    if area.width >= 76 {
        let [left, right] = Layout::horizontal([Constraint::Percentage(45), Constraint::Fill(1)]).areas(upper);
        consumers(ui, left, buf);
        own_filters(ui, right, buf);
    } else {
        let [first, second] = Layout::vertical([Constraint::Percentage(50), Constraint::Fill(1)]).areas(upper);
        consumers(ui, first, buf);
        own_filters(ui, second, buf);
    }
    events::draw_small(ui, 2, lower, buf);
}

fn summary(ui: &Ui<'_>, id: &str, area: Rect, buf: &mut Buffer) {
    let crumbs = vec![
        (Role::Muted, "Subscribers".to_owned()),
        (Role::Muted, ui.sym.crumb.to_owned()),
        (Role::Title, format!("{id}  ")),
    ];
    let Some(detail) = ui.app.opened() else {
        ui.put(area, 0, buf, &crumbs);
        return;
    };
    let s = &detail.subscriber;
    let pair =
        |label: &str, role: Role, value: String| [(Role::Muted, format!("{label} ")), (role, format!("{value}  "))];
    let mut first = crumbs;
    first.push(subscribers::state(ui, s.state));
    first.push((Role::Text, "  ".into()));
    first.extend(pair("lag", Role::Title, format::count(s.lag_events)));
    if let Some(lag) = s.lag_s {
        first.extend(pair("oldest", Role::Title, format::seconds(lag)));
    }
    if let Some(left) = s.data_loss_in_s {
        first.extend(pair("data loss in", Role::Bad, format::seconds(left)));
    }
    let mut second = Vec::new();
    second.extend(pair("queued", Role::Text, ui.rate(s.delivered_per_s)));
    second.push((Role::SeriesDelivered, ui.spark(ui.app.data().detail_spark.iter(), 20)));
    second.push((Role::Text, "  ".into()));
    second.extend(pair("connections", Role::Text, s.connections.to_string()));
    second.extend(pair("queue", Role::Text, format!("{}..{}", s.acked, s.top)));
    second.extend(pair("spilled", Role::Text, format::count(detail.spilled)));
    second.extend(pair("lost", if s.lost > 0 { Role::Bad } else { Role::Text }, format::count(s.lost)));
    let mut third = Vec::new();
    third.extend(pair("last ack", Role::Text, s.last_ack_ms.map_or_else(|| ui.sym.none.into(), |at| ui.time(at))));
    third.extend(pair("epoch", Role::Muted, detail.epoch.clone()));
    third.extend(pair("shard", Role::Muted, s.shard.to_string()));
    third.extend(pair("slot", Role::Muted, s.slot.to_string()));
    for (row, line) in [first, second, third].iter().enumerate() {
        ui.put(area, u16::try_from(row).unwrap_or(0), buf, line);
    }
}

const CONSUMERS: [Column; 5] = [
    column("consumer", 8, 0).grows(),
    column("", 5, 0),
    column("lag", 6, 0).right(),
    column("last ack", 9, 1).right(),
    column("acked", 7, 2).right(),
];

fn consumers(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let rows = app.consumer_rows();
    let inner = ui.pane(area, buf, 0, &[(Role::Title, format!("Consumers {}", rows.len()))]);
    if rows.is_empty() {
        ui.note(inner, buf, Role::Muted, "none yet: nobody has connected");
        return;
    }
    let list = &app.subscribers.consumers;
    let selected = rows.iter().position(|c| list.selected.as_ref() == Some(&c.name)).filter(|_| app.focus == 0);
    let (on, off, none) = (ui.sym.good, ui.sym.away, ui.sym.none);
    let now = app.shown_ms();
    let cell = |row: usize, c: usize| {
        let consumer = &rows[row];
        match c {
            0 => (Role::Text, consumer.name.clone()),
            1 if consumer.connected => (Role::Good, format!("{on} on")),
            1 => (Role::Muted, format!("{off} off")),
            2 => (
                if consumer.lag_events > 0 { Role::Warn } else { Role::Text },
                format::short_count(consumer.lag_events),
            ),
            3 => (
                Role::Text,
                consumer.last_ack_ms.map_or_else(|| none.to_owned(), |at| format::seconds(format::age_ms(now, at))),
            ),
            _ => (Role::Muted, consumer.acked.to_string()),
        }
    };
    let height = usize::from(inner.height.saturating_sub(1));
    let offset = list.window(rows.len(), selected, height);
    let rows = Rows { len: rows.len(), offset, selected, is_marked: &|_| false, cell: &cell };
    table::draw(ui, inner, buf, &CONSUMERS, None, &rows);
}

const FILTERS: [Column; 5] = [
    column("id", 5, 0).right(),
    column("match/s", 7, 0).right(),
    column("hits", 6, 1).right(),
    column("last", 6, 2).right(),
    column("condition", 10, 0).grows(),
];

fn own_filters(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let rows = app.own_filter_rows();
    let inner = ui.pane(area, buf, 1, &[(Role::Title, format!("Filters {}", rows.len()))]);
    if rows.is_empty() {
        ui.note(inner, buf, Role::Muted, "no filters: it gets nothing; a makes one");
        return;
    }
    let list = &app.subscribers.own_filters;
    let selected = rows.iter().position(|f| list.selected == Some(f.id)).filter(|_| app.focus == 1);
    let none = ui.sym.none;
    let now = app.shown_ms();
    let cell = |row: usize, c: usize| match c {
        0 => (Role::Text, rows[row].id.to_string()),
        1..=3 => filters::activity(&rows[row], c, now, none),
        _ => (Role::Text, predicate(&rows[row])),
    };
    let height = usize::from(inner.height.saturating_sub(1));
    let offset = list.window(rows.len(), selected, height);
    let rows = Rows { len: rows.len(), offset, selected, is_marked: &|_| false, cell: &cell };
    table::draw(ui, inner, buf, &FILTERS, None, &rows);
}
