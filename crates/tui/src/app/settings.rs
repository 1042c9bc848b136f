//! What the operator chose: by flags, by the configuration file, or by keys while it runs.

use crate::symbols::{Symbols, symbols};
use crate::theme::Theme;

use super::alerts::Rule;

#[derive(Clone, Debug)]
pub struct Settings {
    /// What the header calls the server: the context's name, or its address.
    pub target: String,
    /// The address, for the commands that `o` shows.
    pub server: String,
    /// Names that `:ctx` completes.
    pub contexts: Vec<String>,
    pub theme: Theme,
    /// Colour is off by `NO_COLOR`, `--color never` or the terminal: `t` must not bring it back.
    pub colorless: bool,
    pub ascii: bool,
    pub read_only: bool,
    pub mouse: bool,
    pub bell: bool,
    pub reduced_motion: bool,
    pub relative_time: bool,
    pub per_minute: bool,
    pub events_max: usize,
    pub alerts: Vec<Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            target: "localhost:8001".into(),
            server: "http://localhost:8001".into(),
            contexts: Vec::new(),
            theme: Theme::Auto,
            colorless: false,
            ascii: false,
            read_only: false,
            mouse: true,
            bell: false,
            reduced_motion: false,
            relative_time: false,
            per_minute: false,
            events_max: 5000,
            alerts: super::alerts::default_rules(),
        }
    }
}

impl Settings {
    #[must_use]
    pub fn symbols(&self) -> &'static Symbols {
        symbols(self.ascii)
    }
}
