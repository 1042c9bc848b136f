//! The filter form: fields above, the dry run below.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::footer::draw_input;
use super::overlay::window;
use super::ui::{Ui, wrap};
use crate::app::form::{FIELDS, FilterForm, Test};
use crate::format;
use crate::theme::Role;

/// Room for the names of the fields.
const LABEL: u16 = 14;

pub(super) fn draw(ui: &mut Ui<'_>, form: &FilterForm, area: Rect, buf: &mut Buffer) {
    let title = match form.id {
        Some(id) => format!("Edit filter {id}"),
        None => "New filter".to_owned(),
    };
    let inner = window(ui, area, (110, area.height.min(30)), &title, buf);
    // Where there are few lines the field with the focus stays in sight.
    let lines_needed = |at: usize| 1 + u16::from(form.mistake(FIELDS[at]).is_some());
    let mut first = 0;
    while first < form.focus && (first..=form.focus).map(lines_needed).sum::<u16>() + 2 > inner.height {
        first += 1;
    }
    let mut y = 0;
    for (at, field) in FIELDS.iter().enumerate().skip(first) {
        if y >= inner.height {
            return;
        }
        let is_focused = at == form.focus;
        let role = if is_focused { Role::Key } else { Role::Muted };
        let mark = if is_focused { "> " } else { "  " };
        ui.put(inner, y, buf, &[(role, format!("{mark}{}", field.label()))]);
        let line = Rect {
            x: inner.x + LABEL.min(inner.width),
            y: inner.y + y,
            width: inner.width.saturating_sub(LABEL),
            height: 1,
        };
        let mistake = form.mistake(*field);
        if form.is_fixed(*field) {
            ui.put(line, 0, buf, &[(Role::Text, form.text(*field).to_owned())]);
        } else if form.fields[at].text().is_empty() && !is_focused {
            ui.put(line, 0, buf, &[(Role::Muted, field.hint().to_owned())]);
        } else {
            draw_input(ui, buf, line, &form.fields[at], mistake.as_ref().map(|m| m.span), is_focused);
            if form.fields[at].text().is_empty() {
                let hint = Rect { x: line.x + 2.min(line.width), width: line.width.saturating_sub(2), ..line };
                ui.put(hint, 0, buf, &[(Role::Muted, field.hint().to_owned())]);
            }
        }
        y += 1;
        if let Some(mistake) = mistake
            && y < inner.height
        {
            let hint = mistake.hint.map(|h| format!("; {h}")).unwrap_or_default();
            let text = format!("{} {}", ui.sym.bad, mistake.message);
            let line = Rect { y: inner.y + y, ..line };
            ui.put(line, 0, buf, &[(Role::Bad, text), (Role::Muted, hint)]);
            y += 1;
        }
    }
    let rest = Rect { y: inner.y + y, height: inner.height.saturating_sub(y), ..inner };
    dry_run(ui, form, rest, buf);
}

fn dry_run(ui: &Ui<'_>, form: &FilterForm, area: Rect, buf: &mut Buffer) {
    let mut lines: Vec<Vec<(Role, String)>> = vec![Vec::new()];
    let is_current = form.spec().is_ok_and(|spec| form.is_tested(&spec));
    match &form.test {
        Test::None => lines.push(vec![
            (Role::Key, "enter ".into()),
            (Role::Muted, "tries it on recent traffic; nothing is saved before you see it".into()),
        ]),
        Test::Running { .. } => lines.push(vec![(Role::Muted, "trying it on recent traffic".into())]),
        Test::Failed { why, .. } => {
            lines.push(vec![(Role::Bad, format!("{} could not be tried: {}", ui.sym.bad, why.why))]);
            lines.push(vec![(Role::Key, "enter ".into()), (Role::Muted, "saves it all the same".into())]);
        }
        Test::Done { response, .. } => {
            let rate = ui.rate(response.matched_per_s);
            let share = response.matched as f64 * 100.0 / response.scanned.max(1) as f64;
            let span = format::seconds(response.span_s);
            let cut = if response.truncated { ", as far as a scan goes" } else { "" };
            let matched = format::count(response.matched);
            let scanned = format::count(response.scanned);
            lines.push(vec![
                (Role::Title, format!("would match {rate}")),
                (Role::Text, format!("  {matched} of {scanned} ({share:.1}%) in {span} of traffic{cut}")),
            ]);
            if !response.canonical.is_empty() {
                lines.push(vec![(Role::Muted, format!("read as {}", response.canonical))]);
            }
            if let Some(warning) = &response.warning {
                let room = usize::from(area.width);
                lines.extend(wrap(&format!("! {warning}"), room).into_iter().map(|l| vec![(Role::Warn, l)]));
            }
            if form.overtaken {
                let theirs = ui.app.present_filter(form.id).filter(|f| f.version != form.version);
                let now = theirs.map(|f| format!(": {}", crate::app::lists::predicate(f))).unwrap_or_default();
                lines.push(vec![(Role::Warn, format!("! somebody else changed it meanwhile{now}"))]);
            }
            lines.push(if !is_current {
                vec![(Role::Warn, "changed since: enter tries it again".into())]
            } else if form.saving.is_some() {
                vec![(Role::Muted, "saving".into())]
            } else {
                let what = if form.overtaken { "saves yours over it; esc leaves theirs" } else { "saves it" };
                vec![(Role::Key, "enter ".into()), (Role::Good, what.into())]
            });
            lines.push(Vec::new());
            for sample in &response.samples {
                lines.push(vec![
                    (Role::Muted, format!("{}  ", ui.time(sample.time_ms))),
                    (Role::Text, crate::json::brief(sample.data.get(), &[])),
                ]);
            }
            if response.samples.is_empty() {
                lines.push(vec![(Role::Muted, "no samples: nothing recent matches".into())]);
            }
        }
    }
    for (at, line) in lines.iter().enumerate() {
        ui.put(area, u16::try_from(at).unwrap_or(u16::MAX), buf, line);
    }
}
