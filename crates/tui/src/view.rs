//! The screen as a function of the model: two lines of header, a body, one or two lines of footer.
//!
//! ```text
//! header   connection, age of the data, rates, who is behind, alerts
//! tabs     1 Overview  2 Subscribers  3 Events ...
//! body     one screen; an overlay may lie over it
//! footer   keys that work now, or what is being typed
//! ```

mod charts;
mod cluster;
mod dead_letters;
mod events;
mod filters;
mod footer;
mod form;
mod header;
mod log;
mod overlay;
mod overview;
mod subscriber;
mod subscribers;
pub mod table;
mod ui;

use ratatui::Frame;
use ratatui::layout::Rect;

use crate::app::update::SIZE_MIN;
use crate::app::{App, Screen};
use crate::message::{Connection, Target};
use crate::theme::Role;
use ui::Ui;

/// Where the mouse can act, the topmost last.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    areas: Vec<(Rect, Target)>,
}

impl Hits {
    fn add(&mut self, area: Rect, target: Target) {
        if !area.is_empty() {
            self.areas.push((area, target));
        }
    }

    #[must_use]
    pub fn at(&self, column: u16, row: u16) -> Option<&Target> {
        let point = ratatui::layout::Position::new(column, row);
        self.areas.iter().rev().find(|(area, _)| area.contains(point)).map(|(_, target)| target)
    }

    /// The pane under the mouse, whatever lies in it.
    #[must_use]
    pub fn pane_at(&self, column: u16, row: u16) -> Option<&Target> {
        let point = ratatui::layout::Position::new(column, row);
        self.areas
            .iter()
            .rev()
            .find(|(area, target)| matches!(target, Target::Pane(_)) && area.contains(point))
            .map(|(_, target)| target)
    }
}

/// Draws the model and tells where the mouse can act.
pub fn view(app: &App, frame: &mut Frame<'_>) -> Hits {
    let area = frame.area();
    let mut ui = Ui::new(app);
    let buf = frame.buffer_mut();
    buf.set_style(area, ui.style(Role::Text));
    if area.width < SIZE_MIN.0 || area.height < SIZE_MIN.1 {
        too_small(&ui, area, buf);
        return Hits::default();
    }
    let footer_height = if app.prompt.is_some() { 2 } else { 1 };
    let body_height = area.height - 2 - footer_height;
    let at = |y: u16, height: u16| Rect { y: area.y + y, height, ..area };
    let (body, footer) = (at(2, body_height), at(2 + body_height, footer_height));
    header::draw(&mut ui, at(0, 1), buf);
    header::draw_tabs(&mut ui, at(1, 1), buf);
    match app.screen() {
        Screen::Overview => overview::draw(&mut ui, body, buf),
        Screen::Subscribers => subscribers::draw(&mut ui, body, buf),
        Screen::Subscriber(id) => subscriber::draw(&mut ui, id, body, buf),
        Screen::Events => events::draw(&mut ui, body, buf),
        Screen::Filters => filters::draw(&mut ui, body, buf),
        Screen::Log => log::draw(&mut ui, body, buf),
        Screen::DeadLetters => dead_letters::draw(&mut ui, body, buf),
        Screen::Cluster => cluster::draw(&mut ui, body, buf),
    }
    let old = app.is_stale() || (app.data_at_ms.is_some() && app.connection != Connection::Connected);
    if old {
        grey(&ui, body, buf);
    }
    if let Some(overlay) = &app.overlay {
        overlay::draw(&mut ui, overlay, body, buf);
    }
    footer::draw(&mut ui, footer, buf);
    if app.settings.ascii {
        to_ascii(buf);
    }
    let (hits, cursor) = ui.finish();
    if let Some(cursor) = cursor {
        frame.set_cursor_position(cursor);
    }
    hits
}

/// Old data looks old; the row under the cursor keeps its own background, on which grey could not be read.
fn grey(ui: &Ui<'_>, area: Rect, buf: &mut ratatui::buffer::Buffer) {
    let plain = ui.style(Role::Text).bg.unwrap_or_default();
    for position in area.positions() {
        if let Some(cell) = buf.cell_mut(position)
            && cell.bg == plain
            && !cell.modifier.contains(ratatui::style::Modifier::REVERSED)
        {
            cell.set_style(ui.style(Role::Stale));
        }
    }
}

fn too_small(ui: &Ui<'_>, area: Rect, buf: &mut ratatui::buffer::Buffer) {
    let text = format!("{}x{} is too small: {}x{} or more", area.width, area.height, SIZE_MIN.0, SIZE_MIN.1);
    for (row, part) in [text.as_str(), "q quits"].iter().enumerate() {
        let row = u16::try_from(row).unwrap_or(0);
        if row < area.height {
            let cut = crate::format::cut(part, area.width.into(), ui.sym.ellipsis);
            buf.set_string(area.x, area.y + row, cut, ui.style(Role::Warn));
        }
    }
}

/// The last word on `--ascii`: lines that widgets draw by themselves, and whatever the data has.
fn to_ascii(buf: &mut ratatui::buffer::Buffer) {
    for cell in &mut buf.content {
        if cell.symbol().is_ascii() {
            continue;
        }
        let replacement = match cell.symbol() {
            "│" | "┃" | "║" => '|',
            "─" | "━" | "═" => '-',
            "└" | "┘" | "┌" | "┐" | "├" | "┤" | "┴" | "┬" | "┼" => '+',
            _ => '?',
        };
        cell.set_char(replacement);
    }
}
