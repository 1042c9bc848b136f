//! Progress on stderr: a bar or a spinner on a terminal, a line every five seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::output::complain;
use crate::quantity::{seconds, thousands};

const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Meter {
    shape: Shape,
    unit: &'static str,
    total: Option<u64>,
    started: Instant,
}

#[derive(Debug)]
enum Shape {
    Bar(ProgressBar),
    Lines { last: Instant, last_done: u64 },
    Hidden,
}

impl Meter {
    pub(crate) fn new(total: Option<u64>, unit: &'static str, shown: bool) -> Self {
        let started = Instant::now();
        let shape = match (shown, std::io::stderr().is_terminal()) {
            (false, _) => Shape::Hidden,
            (true, false) => Shape::Lines { last: started, last_done: 0 },
            (true, true) => Shape::Bar(bar(total)),
        };
        Self { shape, unit, total, started }
    }

    /// `note` stands at the end of the line, for example the latency.
    pub(crate) fn update(&mut self, done: u64, note: impl FnOnce() -> String) {
        match &mut self.shape {
            Shape::Hidden => {}
            Shape::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(format!("{} {}", self.unit, note()));
            }
            Shape::Lines { last, last_done } => {
                let now = Instant::now();
                let span = now - *last;
                if span < LINE_EVERY {
                    return;
                }
                let rate = (done - *last_done) as f64 / span.as_secs_f64();
                let of = self.total.map(|total| format!(" of {}", thousands(total))).unwrap_or_default();
                complain(&format!(
                    "{} {}{of} {}, {}/s {}",
                    seconds(self.started.elapsed().as_secs_f64()),
                    thousands(done),
                    self.unit,
                    thousands(rate.round() as u64),
                    note()
                ));
                (*last, *last_done) = (now, done);
            }
        }
    }

    /// Says something without tearing the bar.
    pub(crate) fn say(&self, text: &str) {
        match &self.shape {
            Shape::Bar(bar) => bar.suspend(|| complain(text)),
            Shape::Lines { .. } | Shape::Hidden => complain(text),
        }
    }

    pub(crate) fn finish(&self) {
        if let Shape::Bar(bar) = &self.shape {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:30.cyan} {human_pos}/{human_len} {msg}  {rate:.green}  {elapsed_precise} eta {eta}",
        ),
        None => (ProgressBar::new_spinner(), "{spinner:.cyan} {human_pos} {msg}  {rate:.green}  {elapsed_precise}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
    if let Ok(style) = ProgressStyle::with_template(template) {
        // Events are whole, and so is their rate.
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}/s", HumanCount(state.per_sec().round() as u64));
        }));
    }
    bar
}
