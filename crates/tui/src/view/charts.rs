//! Charts over time: runs of points with holes left open, axes with round numbers.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::ui::Ui;
use crate::data::Point;
use crate::format;
use crate::theme::Role;

pub(super) struct Series<'s> {
    pub(super) role: Role,
    /// Draws the line where colour cannot tell it apart.
    pub(super) letter: char,
    pub(super) value: &'s dyn Fn(&Point) -> Option<f64>,
}

pub(super) fn draw(ui: &Ui<'_>, area: Rect, buf: &mut Buffer, series: &[Series<'_>], unit: fn(f64) -> String) {
    if area.width < 12 || area.height < 4 {
        return;
    }
    let app = ui.app;
    let (history, now) = (&app.data().history, app.shown_ms());
    let window = f64::from(app.window_s);
    let runs: Vec<(usize, Vec<(f64, f64)>)> = series
        .iter()
        .enumerate()
        .flat_map(|(at, s)| history.runs(now, window, s.value).into_iter().map(move |run| (at, run)))
        .collect();
    let top = runs.iter().flat_map(|(_, run)| run).map(|(_, y)| *y).fold(0.0, f64::max);
    let top = round_up(top);
    let letters = ui.is_colorless() || app.settings.ascii;
    let datasets = runs
        .iter()
        .map(|(at, run)| {
            let s = &series[*at];
            let marker = if letters { Marker::Custom(s.letter) } else { ui.sym.marker };
            let kind = if run.len() > 1 { GraphType::Line } else { GraphType::Scatter };
            Dataset::default().marker(marker).graph_type(kind).style(ui.style(s.role)).data(run)
        })
        .collect();
    let muted = ui.style(Role::Muted);
    let label = |text: String| Line::styled(text, muted);
    let x_labels = [label(format!("-{}", format::span(window))), label("now".into())];
    let y_labels = if area.height >= 8 {
        vec![label("0".into()), label(unit(top / 2.0)), label(unit(top))]
    } else {
        vec![label("0".into()), label(unit(top))]
    };
    Chart::new(datasets)
        .style(ui.style(Role::Text))
        .legend_position(None)
        .x_axis(Axis::default().style(muted).bounds([-window, 0.0]).labels(x_labels))
        .y_axis(Axis::default().style(muted).bounds([0.0, top]).labels(y_labels))
        .render(area, buf);
}

/// The next of 1, 2, 5, 10, 20, 50 ...: the axis does not twitch with each report.
fn round_up(value: f64) -> f64 {
    if !value.is_finite() || value <= 1.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|top| *top >= value * 1.05).unwrap_or(power * 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_above_the_highest_point() {
        assert_eq!([0.0, 3.0, 19.9, 480.0, 960.0].map(round_up), [1.0, 5.0, 50.0, 1000.0, 2000.0]);
        assert_eq!(round_up(f64::NAN), 1.0);
    }
}
