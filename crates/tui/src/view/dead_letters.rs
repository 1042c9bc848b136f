//! Dead letters: records that could not be read as events.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::subscribers::find_title;
use super::table::{self, Column, Rows, column};
use super::ui::Ui;
use crate::format;
use crate::message::Topic;
use crate::theme::Role;

const COLUMNS: [Column; 5] = [
    column("time", 12, 1),
    column("position", 10, 2),
    column("reason", 14, 0),
    column("detail", 14, 0).grows(),
    column("id", 10, 3),
];

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let data = app.data();
    let rows = app.dead_letter_rows();
    let total = data.dead_letters.total.unwrap_or(rows.len() as u64);
    let mut title = vec![(Role::Title, format!("Dead letters {} ", format::count(total)))];
    if !app.dead_letters.marks.is_empty() {
        title.push((Role::Marked, format!("{} marked ", app.dead_letters.marks.len())));
    }
    find_title(&mut title, &app.dead_letters.find, rows.len(), true);
    let failure = data.failures.get(&Topic::DeadLetters);
    let inner = ui.pane(area, buf, 0, &title);
    if rows.is_empty() {
        let text = match (failure, data.dead_letters.at_ms) {
            (Some(failure), _) => ui.failure(failure),
            (None, None) => "asking the server".into(),
            (None, Some(_)) => "none: every record could be read as an event".into(),
        };
        ui.note(inner, buf, Role::Muted, &text);
        return;
    }
    let list = &app.dead_letters.list;
    let selected = rows.iter().position(|d| list.selected.as_ref() == Some(&d.id));
    let offset = list.window(rows.len(), selected, usize::from(inner.height.saturating_sub(1)));
    let this: &Ui<'_> = ui;
    let cell = |row: usize, c: usize| {
        let letter = rows[row];
        match c {
            0 => (Role::Muted, this.time(letter.time_ms)),
            1 => (Role::Text, letter.position.clone()),
            2 => (Role::Warn, letter.reason.clone()),
            3 => (Role::Text, letter.detail.clone()),
            _ => (Role::Muted, letter.id.clone()),
        }
    };
    let is_marked = |row: usize| app.dead_letters.marks.contains(&rows[row].id);
    let table_rows = Rows { len: rows.len(), offset, selected, is_marked: &is_marked, cell: &cell };
    let mut out = Ui::new(app);
    table::draw(&mut out, inner, buf, &COLUMNS, None, &table_rows);
    ui.take_hits(out);
}
