//! What lies over the body: help, texts, "why", questions.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Clear, Widget};

use super::form;
use super::ui::{Ui, wrap};
use crate::app::Overlay;
use crate::app::overlay::{Confirm, Help, Text, Why};
use crate::format;
use crate::keymap::CONTEXTS;
use crate::theme::Role;

pub(super) fn draw(ui: &mut Ui<'_>, overlay: &Overlay, area: Rect, buf: &mut Buffer) {
    match overlay {
        Overlay::Help(help) => draw_help(ui, help, area, buf),
        Overlay::Text(text) => draw_text(ui, text, area, buf),
        Overlay::Why(why) => draw_why(ui, why, area, buf),
        Overlay::Form(filter) => form::draw(ui, filter, area, buf),
        Overlay::Confirm(confirm) => draw_confirm(ui, confirm, area, buf),
    }
}

/// A box in the middle, at most as large as asked; gives the room inside.
pub(super) fn window(ui: &Ui<'_>, area: Rect, size: (u16, u16), title: &str, buf: &mut Buffer) -> Rect {
    let (width, height) = (size.0.min(area.width), size.1.min(area.height));
    let window = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(window, buf);
    buf.set_style(window, ui.style(Role::Text));
    let title = format::cut(title, usize::from(width.saturating_sub(4)), ui.sym.ellipsis);
    let block = Block::bordered()
        .border_set(ui.sym.border)
        .border_style(ui.style(Role::BorderFocused))
        .title(ui.span(Role::Title, format!(" {title} ")));
    let inner = block.inner(window);
    block.render(window, buf);
    Rect { x: inner.x + 1.min(inner.width), width: inner.width.saturating_sub(2), ..inner }
}

type Lines = Vec<Vec<(Role, String)>>;

fn put_scrolled(ui: &Ui<'_>, area: Rect, buf: &mut Buffer, lines: &Lines, scroll: &crate::app::overlay::Scroll) {
    let top = scroll.window(lines.len(), area.height);
    for (at, line) in lines.iter().skip(usize::from(top)).take(usize::from(area.height)).enumerate() {
        ui.put(area, u16::try_from(at).unwrap_or(0), buf, line);
    }
    let more = lines.len().saturating_sub(usize::from(top) + usize::from(area.height));
    if more > 0 && area.width > 12 {
        let text = format!(" {more} more {}", ui.sym.down);
        let width = u16::try_from(format::width(&text)).unwrap_or(0);
        let at = Rect { x: area.right().saturating_sub(width), y: area.bottom() - 1, width, height: 1 };
        ui.put(at, 0, buf, &[(Role::Badge, text)]);
    }
}

/// The keymap itself, so it cannot be out of date.
fn draw_help(ui: &mut Ui<'_>, help: &Help, area: Rect, buf: &mut Buffer) {
    let inner = window(ui, area, (86, area.height), "Keys: type to search, esc closes", buf);
    if inner.height < 2 {
        return;
    }
    let needle = help.find.text().to_lowercase();
    let keymap = &ui.app.keymap;
    let here = ui.app.contexts_below();
    let mut lines: Lines = Vec::new();
    // What works on this screen comes first.
    let mut order: Vec<_> = here.to_vec();
    order.extend(CONTEXTS.iter().filter(|c| !here.contains(c)));
    for context in order {
        let mut rows: Lines = Vec::new();
        for (binding, keys) in keymap.rows(context) {
            let keys = keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let text = format!("{keys} {} {}", binding.name, binding.help).to_lowercase();
            if text.contains(&needle) {
                for (at, line) in
                    wrap(binding.help, usize::from(inner.width).saturating_sub(17)).into_iter().enumerate()
                {
                    let keys = if at == 0 { keys.as_str() } else { "" };
                    rows.push(vec![(Role::Key, format!("  {keys:14} ")), (Role::Text, line)]);
                }
            }
        }
        if !rows.is_empty() {
            lines.push(vec![(Role::Title, context.title().to_owned())]);
            lines.extend(rows);
        }
    }
    if lines.is_empty() {
        lines.push(vec![(Role::Muted, "no key for that".into())]);
    }
    let search = Rect { height: 1, ..inner };
    ui.put(search, 0, buf, &[(Role::Key, "search ".into())]);
    let field = Rect { x: search.x + 7.min(search.width), width: search.width.saturating_sub(7), ..search };
    super::footer::draw_input(ui, buf, field, &help.find, None, true);
    let body = Rect { y: inner.y + 1, height: inner.height - 1, ..inner };
    put_scrolled(ui, body, buf, &lines, &help.scroll);
}

fn draw_text(ui: &Ui<'_>, text: &Text, area: Rect, buf: &mut Buffer) {
    let width = area.width.min(100);
    let lines = wrap(&text.text, usize::from(width.saturating_sub(4)));
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2);
    let inner = window(ui, area, (width, height), &text.title, buf);
    let lines: Lines = lines.into_iter().map(|line| vec![(Role::Text, line)]).collect();
    put_scrolled(ui, inner, buf, &lines, &text.scroll);
}

/// The verdict first, then each filter with the clause that decided, then what became of the event.
fn draw_why(ui: &Ui<'_>, why: &Why, area: Rect, buf: &mut Buffer) {
    let (yes, no) = (ui.sym.good, ui.sym.bad);
    let width = area.width.min(96);
    let room = usize::from(width.saturating_sub(4));
    let mut lines: Lines = Vec::new();
    match &why.answer {
        None => lines.push(vec![(Role::Muted, "asking the server".into())]),
        Some(Err(failure)) => {
            lines.extend(wrap(&ui.failure(failure), room).into_iter().map(|l| vec![(Role::Bad, l)]));
        }
        Some(Ok(explanation)) => {
            let verdict = match explanation.matched {
                true => (Role::Good, format!("{yes} {} matches it", explanation.subscriber)),
                false if explanation.filters.is_empty() => {
                    (Role::Bad, format!("{no} {} has no filters", explanation.subscriber))
                }
                false => (Role::Bad, format!("{no} none of {}'s filters matches it", explanation.subscriber)),
            };
            lines.push(vec![verdict]);
            for filter in &explanation.filters {
                let (role, glyph, word) =
                    if filter.matched { (Role::Good, yes, "matches") } else { (Role::Warn, no, "does not match") };
                lines.push(Vec::new());
                lines.push(vec![(role, format!("{glyph} filter {} {word}", filter.id))]);
                for clause in &filter.clauses {
                    let (role, glyph) = match clause.outcome.as_str() {
                        "true" => (Role::Text, yes),
                        "false" => (Role::Bad, no),
                        _ => (Role::Warn, "!"),
                    };
                    let saw = clause.saw.as_ref().map(|s| format!("   saw {s}")).unwrap_or_default();
                    lines.push(vec![
                        (role, format!("    {glyph} {:5} {}", clause.outcome, clause.text)),
                        (Role::Muted, saw),
                    ]);
                }
            }
            if !explanation.trail.is_empty() {
                lines.push(Vec::new());
                lines.push(vec![(Role::Title, "What became of it".into())]);
                for step in &explanation.trail {
                    lines.push(vec![(Role::Key, format!("  {:12} ", step.step)), (Role::Text, step.detail.clone())]);
                }
            }
        }
    }
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2).max(8);
    let title = format!("Why: event {} for {}", why.event, why.subscriber);
    let inner = window(ui, area, (width, height), &title, buf);
    put_scrolled(ui, inner, buf, &lines, &why.scroll);
}

fn draw_confirm(ui: &Ui<'_>, confirm: &Confirm, area: Rect, buf: &mut Buffer) {
    let width = area.width.min(64);
    let detail = wrap(&confirm.detail, usize::from(width.saturating_sub(4)));
    let height = u16::try_from(detail.len()).unwrap_or(1).saturating_add(4);
    let inner = window(ui, area, (width, height), &confirm.question, buf);
    let mut lines: Lines = detail.into_iter().map(|l| vec![(Role::Text, l)]).collect();
    lines.push(Vec::new());
    lines.push(vec![
        (Role::Key, "y ".into()),
        (Role::Text, "do it    ".into()),
        (Role::Key, "n ".into()),
        (Role::Text, "leave it".into()),
    ]);
    for (at, line) in lines.iter().enumerate() {
        ui.put(inner, u16::try_from(at).unwrap_or(0), buf, line);
    }
}
