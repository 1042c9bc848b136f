//! The last line: what was just said, what is being typed, or the keys that work now.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ui::Ui;
use crate::app::{Prompt, PromptKind};
use crate::format;
use crate::keymap::{Action, Context};
use crate::message::Target;
use crate::theme::Role;

pub(super) fn draw(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    // What lies under an overlay's edge must not shine through.
    if let Some(prompt) = &ui.app.prompt {
        draw_prompt(ui, prompt, area, buf);
    } else if let Some(toast) = &ui.app.toast {
        let role = if toast.bad { Role::Bad } else { Role::Title };
        let glyph = if toast.bad { "! " } else { "" };
        ui.put(area, 0, buf, &[(role, format!("{glyph}{}", toast.text))]);
    } else {
        draw_keys(ui, area, buf);
    }
}

/// Keys in the order of the table; when the line is full the rest is left to `?`, which is always there.
fn draw_keys(ui: &mut Ui<'_>, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let contexts = app.contexts();
    let mut items: Vec<(Action, String, &'static str)> = Vec::new();
    for context in contexts.iter().filter(|c| **c != Context::Global) {
        for (binding, keys) in app.keymap.rows(*context) {
            if let (false, Some(key)) = (binding.label.is_empty(), keys.first()) {
                items.push((binding.action, key.to_string(), binding.label));
            }
        }
    }
    let mut fixed = Vec::new();
    if contexts.contains(&Context::Global) {
        for (binding, keys) in app.keymap.rows(Context::Global) {
            if let (false, Some(key)) = (binding.label.is_empty(), keys.first()) {
                let item = (binding.action, key.to_string(), binding.label);
                if matches!(binding.action, Action::Help | Action::Quit) { fixed.push(item) } else { items.push(item) }
            }
        }
    }
    let width = |(_, key, label): &(Action, String, &str)| {
        u16::try_from(format::width(key) + 1 + format::width(label) + 2).unwrap_or(u16::MAX)
    };
    let mut x = area.x;
    let reserved: u16 = fixed.iter().map(width).sum();
    let end = area.right().saturating_sub(reserved);
    for item in items {
        if x + width(&item) > end {
            break;
        }
        x = put_key(ui, buf, x, area.y, item);
    }
    for item in fixed {
        if x + width(&item) <= area.right() + 2 {
            x = put_key(ui, buf, x, area.y, item);
        }
    }
}

/// What cannot be done now is grey; pressing it says why.
fn put_key(ui: &mut Ui<'_>, buf: &mut Buffer, x: u16, y: u16, (action, key, label): (Action, String, &str)) -> u16 {
    let is_on = ui.app.enabled(action).is_ok();
    let (key_role, label_role) = if is_on { (Role::Key, Role::Text) } else { (Role::Muted, Role::Muted) };
    let room = usize::from(buf.area.right().saturating_sub(x));
    let (after_key, _) = buf.set_stringn(x, y, &key, room, ui.style(key_role));
    let room = usize::from(buf.area.right().saturating_sub(after_key + 1));
    let (end, _) = buf.set_stringn((after_key + 1).min(buf.area.right() - 1), y, label, room, ui.style(label_role));
    ui.hit(Rect { x, y, width: end.saturating_sub(x), height: 1 }, Target::Action(action));
    end + 2
}

fn draw_prompt(ui: &mut Ui<'_>, prompt: &Prompt, area: Rect, buf: &mut Buffer) {
    let app = ui.app;
    let note: Vec<(Role, String)> = match (&prompt.mistake, &prompt.kind) {
        (Some(mistake), _) => {
            let hint = mistake.hint.as_ref().map(|h| format!("; {h}")).unwrap_or_default();
            let place = format!(" at {}", mistake.span.0 + 1);
            vec![(Role::Bad, format!("{} {}{place}", ui.sym.bad, mistake.message)), (Role::Muted, hint)]
        }
        (None, PromptKind::Find) => match app.find() {
            Some(find) => match find.error() {
                Some(error) => vec![(Role::Bad, error.to_owned())],
                None => vec![(Role::Muted, "filter: text, !without, ~regex; enter keeps it, esc clears it".into())],
            },
            None => Vec::new(),
        },
        (None, PromptKind::Where) if prompt.input.text().trim().is_empty() => {
            vec![(Role::Muted, "condition, such as amount >= 100 && country in [\"DE\"]; empty is all".into())]
        }
        (None, PromptKind::Where) => vec![(Role::Good, format!("{} well formed; enter applies it", ui.sym.good))],
        (None, PromptKind::Palette | PromptKind::Why { .. }) => {
            let candidates = app.completions();
            if candidates.is_empty() {
                let hint = match prompt.kind {
                    PromptKind::Palette => "a view, sub <id>, events <id>, where <condition>, filter new, theme, quit",
                    _ => "the subscriber to explain it for; enter asks",
                };
                vec![(Role::Muted, hint.into())]
            } else {
                let mut note = vec![(Role::Key, "tab ".into()), (Role::Muted, candidates.join("  "))];
                let last = &app.events.why_subscriber;
                if matches!(prompt.kind, PromptKind::Why { .. }) && prompt.input.text().is_empty() && !last.is_empty() {
                    let again = [(Role::Key, "enter ".into()), (Role::Muted, format!("for {last} again  "))];
                    note.splice(0..0, again);
                }
                note
            }
        }
    };
    ui.put(area, 0, buf, &note);
    let label = match prompt.kind {
        PromptKind::Find => "/",
        PromptKind::Where => "where ",
        PromptKind::Palette => ":",
        PromptKind::Why { .. } => "why for ",
    };
    ui.put(area, 1, buf, &[(Role::Key, label.into())]);
    let left = u16::try_from(label.len()).unwrap_or(0).min(area.width);
    let line =
        Rect { x: area.x + left, y: area.y + 1, width: area.width - left, height: area.height.saturating_sub(1) };
    let span = prompt.mistake.as_ref().map(|m| m.span);
    draw_input(ui, buf, line, &prompt.input, span, true);
}

/// One line of typed text with its cursor kept in sight and the wrong part shown.
pub(super) fn draw_input(
    ui: &mut Ui<'_>,
    buf: &mut Buffer,
    area: Rect,
    input: &crate::input::Input,
    wrong: Option<(usize, usize)>,
    focused: bool,
) {
    if area.is_empty() {
        return;
    }
    let text = input.text();
    let room = usize::from(area.width).saturating_sub(1);
    // Start so that the cursor is the last column at most.
    let before = format::width(&text[..input.cursor()]);
    let skip = before.saturating_sub(room);
    let mut column = 0;
    let mut x = area.x;
    for (at, c) in text.char_indices() {
        let shown = if c.is_control() { ' ' } else { c };
        let width = format::width(shown.encode_utf8(&mut [0; 4]));
        if column >= skip && x + u16::try_from(width).unwrap_or(1) <= area.right() {
            let is_wrong = wrong.is_some_and(|(from, to)| at >= from && at < to);
            let role = if is_wrong { Role::InputError } else { Role::Input };
            buf.set_string(x, area.y, shown.to_string(), ui.style(role));
            x += u16::try_from(width).unwrap_or(1);
        }
        column += width;
    }
    // A mistake at the end of the text has no character of its own.
    if wrong.is_some_and(|(from, _)| from >= text.len()) && x < area.right() {
        buf.set_string(x, area.y, "^", ui.style(Role::InputError));
    }
    if focused {
        let at = area.x + u16::try_from(before - skip).unwrap_or(0);
        ui.set_cursor(at.min(area.right() - 1), area.y);
    }
}
