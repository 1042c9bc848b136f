//! The filters: whose, what they ask for, how often they match.

use evs_api::filters::{Filter, FilterStatus};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::subscribers::find_title;
use super::table::{self, Column, Rows, column};
use super::ui::Ui;
use crate::app::lists::predicate;
use crate::app::screens::PAGE_ROWS;
use crate::format;
use crate::message::Topic;
use crate::theme::Role;

const COLUMNS: [Column; 8] = [
    column("id", 6, 0).right(),
    column("match/s", 7, 0).right(),
    column("hits", 6, 2).right(),
    column("last", 6, 4).right(),
    column("owner", 14, 0),
    column("name", 8, 6),
    column("condition", 12, 0).grows(),
    column("status", 9, 5),
];

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let data = app.data();
    let rows = app.filter_rows();
    let mut title = vec![(Role::Title, "Filters ".to_owned())];
    let total = data.filters.total.unwrap_or(rows.len() as u64);
    let first = app.filters.pages.number() * PAGE_ROWS as usize;
    if data.filters.next.is_some() || first > 0 {
        title.push((Role::Text, format!("{}-{} of {} ", first + 1, first + rows.len(), format::count(total))));
    } else {
        title.push((Role::Text, format!("{} ", format::count(total))));
    }
    find_title(&mut title, &app.filters.find, rows.len(), true);
    if let (Some(failure), false) = (data.failures.get(&Topic::Filters), rows.is_empty()) {
        title.push((Role::Bad, format!(" {}", ui.failure(failure))));
    }
    let inner = ui.pane(area, buf, 0, &title);
    if rows.is_empty() {
        let text = match (data.failures.get(&Topic::Filters), data.filters.at_ms) {
            (Some(failure), _) => ui.failure(failure),
            (None, None) => "asking the server".into(),
            (None, Some(_)) if app.filters.find.is_active() => "no filter matches; esc clears it".into(),
            (None, Some(_)) => "no filters yet; a makes the first".into(),
        };
        ui.note(inner, buf, Role::Muted, &text);
        return;
    }
    let list = &app.filters.list;
    let selected = rows.iter().position(|f| list.selected == Some(f.id));
    let offset = list.window(rows.len(), selected, usize::from(inner.height.saturating_sub(1)));
    let (none, good, new) = (ui.sym.none, ui.sym.good, ui.sym.new);
    let now = app.shown_ms();
    let cell = |row: usize, c: usize| {
        let f = rows[row];
        match c {
            0 => (Role::Text, f.id.to_string()),
            1..=3 => activity(f, c, now, none),
            4 => (Role::Text, f.spec.subscriber_id.clone()),
            5 => (Role::Muted, f.spec.name.clone().unwrap_or_default()),
            6 => (Role::Text, predicate(f)),
            _ if f.status == FilterStatus::Active => (Role::Good, format!("{good} active")),
            _ => (Role::Warn, format!("{new} pending")),
        }
    };
    let is_marked = |row: usize| app.filters.marks.contains(&rows[row].id);
    let rows = Rows { len: rows.len(), offset, selected, is_marked: &is_marked, cell: &cell };
    table::draw(ui, inner, buf, &COLUMNS, None, &rows);
}

/// Columns 1 to 3: rate, hits, time since the last match.
pub(super) fn activity(filter: &Filter, column: usize, now_ms: i64, none: &str) -> (Role, String) {
    let Some(activity) = &filter.activity else { return (Role::Muted, none.to_owned()) };
    match column {
        1 => (Role::SeriesMatched, format::short(activity.matched_per_s)),
        2 => (Role::Text, format::short_count(activity.matched_total)),
        _ => match activity.last_match_ms {
            Some(at) => (Role::Muted, format::seconds(format::age_ms(now_ms, at))),
            None => (Role::Muted, "never".into()),
        },
    }
}
