//! Tables that drop columns by rank when they are narrow, and draw only the rows that are seen.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ui::Ui;
use crate::format;
use crate::message::{Sort, Target};
use crate::theme::Role;

#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub title: &'static str,
    pub width: u16,
    /// Takes a share of the room that is left.
    pub grows: bool,
    /// Numbers stand at the right.
    pub right: bool,
    /// The higher, the sooner it is left out; 0 stays.
    pub rank: u8,
    /// What a click on its title sorts by.
    pub sort: Option<Sort>,
}

#[must_use]
pub const fn column(title: &'static str, width: u16, rank: u8) -> Column {
    Column { title, width, grows: false, right: false, rank, sort: None }
}

impl Column {
    #[must_use]
    pub const fn right(self) -> Self {
        Self { right: true, ..self }
    }

    #[must_use]
    pub const fn grows(self) -> Self {
        Self { grows: true, ..self }
    }

    #[must_use]
    pub const fn sort(self, sort: Sort) -> Self {
        Self { sort: Some(sort), ..self }
    }
}

pub(super) type Cell = (Role, String);

pub(super) struct Rows<'r> {
    pub(super) len: usize,
    /// The first row to draw.
    pub(super) offset: usize,
    pub(super) selected: Option<usize>,
    pub(super) is_marked: &'r dyn Fn(usize) -> bool,
    /// The cells of a row; asked only for rows that are seen, and only for columns that are shown.
    pub(super) cell: &'r dyn Fn(usize, usize) -> Cell,
}

/// Width of the mark or cursor at the left of each row.
const GUTTER: u16 = 2;

/// The columns that fit, with their widths.
#[must_use]
pub fn fit(columns: &[Column], width: u16) -> Vec<(usize, u16)> {
    let room = width.saturating_sub(GUTTER);
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let needs = |shown: &[usize]| shown.iter().map(|c| columns[*c].width + 1).sum::<u16>().saturating_sub(1);
    while needs(&shown) > room {
        let Some(at) = (0..shown.len()).filter(|at| columns[shown[*at]].rank > 0).max_by_key(|at| {
            // Of equal ranks the one further right goes first.
            (columns[shown[*at]].rank, *at)
        }) else {
            break;
        };
        shown.remove(at);
    }
    let left = room.saturating_sub(needs(&shown));
    let growing = u16::try_from(shown.iter().filter(|c| columns[**c].grows).count()).unwrap_or(0);
    let mut rest = left.checked_rem(growing).unwrap_or(0);
    shown
        .iter()
        .map(|c| {
            let mut width = columns[*c].width;
            if columns[*c].grows {
                width += left / growing + u16::from(rest > 0);
                rest = rest.saturating_sub(1);
            }
            (*c, width)
        })
        .collect()
}

pub(super) fn draw(
    ui: &mut Ui<'_>,
    area: Rect,
    buf: &mut Buffer,
    columns: &[Column],
    sorted: Option<(Sort, bool)>,
    rows: &Rows<'_>,
) {
    if area.height == 0 || area.width <= GUTTER {
        return;
    }
    let shown = fit(columns, area.width);
    let mut x = area.x + GUTTER;
    let end = area.right();
    for (c, width) in &shown {
        let column = columns[*c];
        let width = (*width).min(end.saturating_sub(x));
        if width == 0 {
            break;
        }
        let arrow = match sorted {
            Some((sort, ascending)) if column.sort == Some(sort) => {
                if ascending {
                    ui.sym.up
                } else {
                    ui.sym.down
                }
            }
            _ => "",
        };
        let title = format!("{}{arrow}", column.title);
        put(ui, buf, (x, area.y, width), column.right, Role::Title, &title);
        if let Some(sort) = column.sort {
            ui.hit(Rect { x, y: area.y, width, height: 1 }, Target::SortBy(sort));
        }
        x += width + 1;
    }
    for line in 0..area.height - 1 {
        let row = rows.offset + usize::from(line);
        if row >= rows.len {
            break;
        }
        let y = area.y + 1 + line;
        let whole = Rect { y, height: 1, ..area };
        let is_selected = rows.selected == Some(row);
        let marked = (rows.is_marked)(row);
        let (role, glyph) = match (marked, is_selected) {
            (true, _) => (Role::Marked, ui.sym.mark),
            (false, true) => (Role::Text, ">"),
            _ => (Role::Text, " "),
        };
        buf.set_string(area.x, y, glyph, ui.style(role));
        let mut x = area.x + GUTTER;
        for (c, width) in &shown {
            let width = (*width).min(end.saturating_sub(x));
            if width == 0 {
                break;
            }
            let (role, text) = (rows.cell)(row, *c);
            put(ui, buf, (x, y, width), columns[*c].right, role, &text);
            x += width + 1;
        }
        if is_selected {
            buf.set_style(whole, ui.style(Role::Selected));
        }
        ui.hit(whole, Target::Row(row));
    }
}

fn put(ui: &Ui<'_>, buf: &mut Buffer, (x, y, width): (u16, u16, u16), right: bool, role: Role, text: &str) {
    let text = format::cut(text, width.into(), ui.sym.ellipsis);
    let used = u16::try_from(format::width(&text)).unwrap_or(width);
    let x = if right { x + width.saturating_sub(used) } else { x };
    buf.set_string(x, y, text, ui.style(role));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_go_by_rank_and_the_rest_grows() {
        let columns = [column("id", 10, 0).grows(), column("lag", 6, 1).right(), column("spark", 10, 2)];
        let shown = |width| fit(&columns, width).iter().map(|(c, w)| (*c, *w)).collect::<Vec<_>>();
        assert_eq!(shown(40), [(0, 20), (1, 6), (2, 10)]);
        assert_eq!(shown(29), [(0, 20), (1, 6)]);
        assert_eq!(shown(12), [(0, 10)]);
        assert_eq!(shown(3), [(0, 10)], "what stays is cut when it is drawn");
    }
}
