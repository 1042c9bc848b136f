//! The subscribers, the furthest behind first: one page of the server's list.

use evs_api::subscribers::SubscriberState;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::table::{self, Column, Rows, column};
use super::ui::Ui;
use crate::app::columns::SubscriberColumn as C;
use crate::app::screens::PAGE_ROWS;
use crate::data::SPARK_MAX;
use crate::format;
use crate::keymap::Action;
use crate::message::{Sort, Topic};
use crate::theme::Role;

fn look(of: C) -> Column {
    match of {
        C::State => column("state", 7, 0).sort(Sort::State),
        C::Subscriber => column("subscriber", 10, 0).grows().sort(Sort::Id),
        C::Lag => column("lag", 7, 0).right().sort(Sort::LagEvents),
        C::Oldest => column("oldest", 7, 1).right().sort(Sort::LagS),
        C::LossIn => column("loss in", 7, 2).right(),
        C::Rate => column("queued", 7, 3).right().sort(Sort::DeliveredPerS),
        C::LastAck => column("last ack", 9, 4).right().sort(Sort::LastAck),
        C::Filters => column("filters", 8, 6).right().sort(Sort::Filters),
        C::Connections => column("conns", 5, 7).right(),
        C::Lost => column("lost", 5, 8).right(),
        C::Delivered => column("queued lately", 16, 5),
        C::Acked => column("acked", 9, 9).right(),
    }
}

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let data = app.data();
    let rows = app.subscriber_rows();
    let view = &app.subscribers;
    let page = &data.subscribers;
    let inner = ui.pane(area, buf, 0, &title(ui, rows.len()));
    if rows.is_empty() {
        let text = match (data.failures.get(&Topic::Subscribers), page.at_ms) {
            (Some(failure), _) => ui.failure(failure),
            (None, None) => "asking the server".into(),
            (None, Some(_)) if view.only_read => {
                format!("none that was ever read; {} shows all", app.keymap.key_of(Action::OnlyRead, app.contexts()))
            }
            (None, Some(_)) if view.find.is_active() => "no subscriber matches the filter; esc clears it".into(),
            (None, Some(_)) => "no subscribers yet\na subscriber is made with its first filter: 4 then a, or \
                                `evs filter create`"
                .into(),
        };
        ui.note(inner, buf, Role::Muted, &text);
        return;
    }
    let selected = view.list.selected.as_ref().and_then(|id| rows.iter().position(|s| s.id == *id));
    let height = usize::from(inner.height.saturating_sub(1));
    let offset = view.list.window(rows.len(), selected, height);
    let alarm_s = app.alerts.subscriber_lag_s();
    let this: &Ui<'_> = ui;
    let shown = &app.settings.columns;
    let columns: Vec<Column> = shown.iter().map(|c| look(*c)).collect();
    let cell = |row: usize, c: usize| {
        let s = rows[row];
        let none = || (Role::Muted, this.sym.none.to_owned());
        match shown[c] {
            C::State => state(this, s.state),
            C::Subscriber if s.lag_s.unwrap_or(0.0) > alarm_s => (Role::Bad, s.id.clone()),
            C::Subscriber => (Role::Text, s.id.clone()),
            C::Lag => (lag_role(s.lag_s, alarm_s), format::short_count(s.lag_events)),
            C::Oldest => s.lag_s.map_or_else(none, |lag| (lag_role(s.lag_s, alarm_s), format::seconds(lag))),
            C::LossIn => s
                .data_loss_in_s
                .map_or_else(none, |left| (if left < 600.0 { Role::Bad } else { Role::Warn }, format::seconds(left))),
            C::Rate => (Role::Text, this.rate(s.delivered_per_s)),
            C::LastAck => s
                .last_ack_ms
                .map_or_else(none, |at| (Role::Text, format::seconds(format::age_ms(this.app.shown_ms(), at)))),
            C::Filters => (Role::Text, s.filters.to_string()),
            C::Connections => (Role::Text, s.connections.to_string()),
            C::Lost => (if s.lost > 0 { Role::Bad } else { Role::Muted }, format::short_count(s.lost)),
            C::Delivered => {
                let spark = data.sparks.get(&s.id);
                (Role::SeriesDelivered, spark.map_or_else(String::new, |v| this.spark(v.iter(), SPARK_MAX.min(16))))
            }
            C::Acked => (Role::Muted, format::short_count(s.acked)),
        }
    };
    let is_marked = |row: usize| view.marks.contains(&rows[row].id);
    let table_rows = Rows { len: rows.len(), offset, selected, is_marked: &is_marked, cell: &cell };
    let mut out = Ui::new(app);
    table::draw(&mut out, inner, buf, &columns, Some((view.sort, view.ascending)), &table_rows);
    ui.take_hits(out);
}

fn lag_role(lag_s: Option<f64>, alarm_s: f64) -> Role {
    match lag_s {
        Some(lag) if lag > alarm_s => Role::Bad,
        Some(lag) if lag > 5.0 => Role::Warn,
        _ => Role::Text,
    }
}

/// Glyph and word: the colour only adds to them.
pub(super) fn state(ui: &Ui<'_>, state: SubscriberState) -> (Role, String) {
    match state {
        SubscriberState::Live => (Role::Good, format!("{} live", ui.sym.good)),
        SubscriberState::Slow => (Role::Warn, format!("{} slow", ui.sym.slow)),
        SubscriberState::Away => (Role::Muted, format!("{} away", ui.sym.away)),
        SubscriberState::New => (Role::Muted, format!("{} new", ui.sym.new)),
    }
}

fn title(ui: &Ui<'_>, shown: usize) -> Vec<(Role, String)> {
    let app = ui.app;
    let view = &app.subscribers;
    let page = &app.data().subscribers;
    let mut title = vec![(Role::Title, "Subscribers ".to_owned())];
    let first = view.pages.number() * PAGE_ROWS as usize;
    if shown > 0 && (page.next.is_some() || first > 0) {
        let of = page.total.map(|t| format!(" of {}", format::count(t))).unwrap_or_default();
        title.push((
            Role::Text,
            format!("{}-{}{of} ", format::count(first as u64 + 1), format::count((first + shown) as u64)),
        ));
    } else if let Some(total) = page.total {
        title.push((Role::Text, format!("{} ", format::count(total))));
    }
    let order = if view.ascending { ui.sym.up } else { ui.sym.down };
    title.push((Role::Muted, format!("by {} {order}", view.sort.title())));
    if view.only_read {
        title.push((Role::Found, "  ever read".into()));
    }
    if page.query != view.query() && page.at_ms.is_some() {
        title.push((Role::Warn, "  loading".into()));
    }
    if view.hold {
        title.push((Role::Badge, " order held ".into()));
    }
    find_title(&mut title, &view.find, shown, view.find.plain().is_none());
    if let Some(failure) = app.data().failures.get(&Topic::Subscribers) {
        title.push((Role::Bad, format!("  {}", ui.failure(failure))));
    }
    title
}

/// The filter that is on, always in sight, with the number of rows it leaves.
pub(super) fn find_title(title: &mut Vec<(Role, String)>, find: &crate::find::Find, shown: usize, of_page: bool) {
    if find.is_active() {
        let page = if of_page { " on this page" } else { "" };
        title.push((Role::Found, format!("  /{}", find.text())));
        title.push((Role::Muted, format!(" {shown} match{page}")));
    }
}
