//! The operator's log: what happened, newest last.

use evs_api::oplog::Level;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::subscribers::find_title;
use super::table::{self, Column, Rows, column};
use super::ui::{Ui, wrap};
use crate::format;
use crate::message::Topic;
use crate::theme::Role;

const COLUMNS: [Column; 6] = [
    column("time", 12, 1),
    column("level", 7, 0),
    column("kind", 15, 2),
    column("subscriber", 12, 3),
    column("message", 16, 0).grows(),
    column("instance", 10, 4),
];

/// Which of them is the message.
const MESSAGE: usize = 4;

/// The last says where something happened: of use where there are several, and room.
fn columns(ui: &Ui<'_>, width: u16) -> &'static [Column] {
    let instances = ui.app.data().stats.as_ref().map_or(0, |stats| stats.instances.len());
    if instances > 1 && width >= 100 { &COLUMNS } else { &COLUMNS[..=MESSAGE] }
}

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let rows = app.log_rows();
    let mut title = vec![(Role::Title, format!("Log {} ", rows.len()))];
    match app.log.level {
        Level::Info => {}
        Level::Warn => title.push((Role::Found, "warnings and errors ".into())),
        Level::Error => title.push((Role::Found, "errors ".into())),
    }
    find_title(&mut title, &app.log.find, rows.len(), false);
    if app.log.following {
        title.push((Role::Muted, " following".into()));
    } else {
        let at = app.log.list.selected;
        let below = rows.iter().rev().take_while(|e| Some(e.id) != at).count();
        title.push((Role::Badge, format!(" {below} below: G ")));
    }
    let failure = app.data().failures.get(&Topic::Log);
    if let (Some(failure), false) = (failure, rows.is_empty()) {
        title.push((Role::Bad, format!(" {}", ui.failure(failure))));
    }
    let mut inner = ui.pane(area, buf, 0, &title);
    if rows.is_empty() {
        let text = match failure {
            Some(failure) => ui.failure(failure),
            None if app.log.find.is_active() || app.log.level != Level::Info => "nothing of this kind".into(),
            None => "nothing happened yet: connections, gaps, slow consumers and dead letters show here".into(),
        };
        ui.note(inner, buf, Role::Muted, &text);
        return;
    }
    let list = &app.log.list;
    let selected = rows.iter().position(|e| list.selected == Some(e.id));
    if let Some(at) = selected {
        inner.height -= message(ui, inner, buf, &rows[at].message);
    }
    let columns = columns(ui, inner.width);
    let offset = list.window(rows.len(), selected, usize::from(inner.height.saturating_sub(1)));
    let this: &Ui<'_> = ui;
    let cell = |row: usize, c: usize| {
        let entry = rows[row];
        match c {
            0 => (Role::Muted, this.time(entry.time_ms)),
            1 => match entry.level {
                Level::Info => (Role::Muted, "  info".into()),
                Level::Warn => (Role::Warn, format!("{} warn", this.sym.slow)),
                Level::Error => (Role::Bad, format!("{} error", this.sym.bad)),
            },
            2 => (Role::Text, entry.kind.clone()),
            3 => (Role::Text, entry.subscriber.clone().unwrap_or_default()),
            MESSAGE => (Role::Text, entry.message.clone()),
            _ => (Role::Muted, entry.instance.clone().unwrap_or_default()),
        }
    };
    let is_marked = |row: usize| app.log.marks.contains(&rows[row].id);
    let table_rows = Rows { len: rows.len(), offset, selected, is_marked: &is_marked, cell: &cell };
    let mut out = Ui::new(app);
    table::draw(&mut out, inner, buf, columns, None, &table_rows);
    ui.take_hits(out);
}

/// What the chosen entry says, at the bottom, where its column cuts it; answers how many lines that took.
fn message(ui: &Ui<'_>, area: Rect, buf: &mut Buffer, message: &str) -> u16 {
    let shown = table::fit(columns(ui, area.width), area.width);
    let room = shown.iter().find(|(c, _)| *c == MESSAGE).map_or(0, |(_, width)| usize::from(*width));
    if format::width(message) <= room || area.height < 5 {
        return 0;
    }
    let lines = wrap(message, usize::from(area.width));
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).min(area.height / 3);
    let bottom = Rect { y: area.bottom() - height, height, ..area };
    for (y, line) in (0..height).zip(lines) {
        ui.put(bottom, y, buf, &[(Role::Muted, line)]);
    }
    height
}
