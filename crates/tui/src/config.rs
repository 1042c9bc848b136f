//! `tui.toml`: theme, keys, alerts and the rest. What it does not know it refuses, with what it knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::app::Settings;
use crate::app::alerts::{Rule, default_rules};
use crate::app::columns::{self, SUBSCRIBER_COLUMNS, SubscriberColumn};
use crate::args::Args;
use crate::theme::{self, Role, Theme};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub theme: Theme,
    pub ascii: bool,
    pub mouse: bool,
    /// Rings when an alert is raised.
    pub bell: bool,
    /// A notification of the desktop (OSC 9) when an alert is raised.
    pub notify: bool,
    /// What data changes on the screen changes once a second at most.
    pub reduced_motion: bool,
    /// Times as ages instead of a clock.
    pub relative_time: bool,
    pub per_minute: bool,
    /// Events kept on the screen, at most.
    pub events_max: usize,
    /// Columns of the subscribers table, in this order.
    pub columns: Vec<SubscriberColumn>,
    /// Colours of contexts' names in the header, by context: `prod = "red"`.
    pub context_colors: BTreeMap<String, Tint>,
    /// Actions by name, each with its keys: `quit = ["q", "ctrl-q"]`.
    pub keys: BTreeMap<String, Vec<String>>,
    pub alerts: Vec<Rule>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            theme: Theme::Auto,
            ascii: false,
            mouse: true,
            bell: false,
            notify: false,
            reduced_motion: false,
            relative_time: false,
            per_minute: false,
            events_max: 5000,
            columns: SUBSCRIBER_COLUMNS.to_vec(),
            context_colors: BTreeMap::new(),
            keys: BTreeMap::new(),
            alerts: default_rules(),
        }
    }
}

/// As the theme has it: the same words in every theme, so that production looks like production everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tint {
    Red,
    Yellow,
    Green,
    Cyan,
}

impl Tint {
    #[must_use]
    pub fn role(self) -> Role {
        match self {
            Self::Red => Role::Bad,
            Self::Yellow => Role::Warn,
            Self::Green => Role::Good,
            Self::Cyan => Role::Context,
        }
    }
}

/// Events that a screen may keep: the ring also has a bound in bytes.
const EVENTS_MAX: usize = 100_000;

impl Config {
    /// # Errors
    /// If the file is there but cannot be read or understood.
    pub fn read(path: &Path, must_exist: bool) -> Result<Self, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map_err(|error| format!("{}: {error}", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
        if config.events_max == 0 || config.events_max > EVENTS_MAX {
            return Err(format!("events_max must be 1 to {EVENTS_MAX}"));
        }
        columns::check(&config.columns)?;
        Ok(config)
    }

    /// The settings that flags, environment and this file make together.
    #[must_use]
    pub fn settings(&self, args: &Args, environment: &Environment) -> Settings {
        let asked = args.theme.unwrap_or(self.theme);
        let resolved = theme::resolve(
            asked,
            args.color,
            environment.no_color,
            environment.term.as_deref() == Some("dumb"),
            environment.colorfgbg.as_deref(),
        );
        Settings {
            theme: resolved,
            colorless: resolved == Theme::Mono && asked != Theme::Mono,
            ascii: args.ascii || self.ascii || environment.term.as_deref() == Some("linux"),
            read_only: args.read_only,
            mouse: self.mouse && !args.no_mouse,
            bell: self.bell,
            notify: self.notify,
            columns: self.columns.clone(),
            reduced_motion: self.reduced_motion,
            relative_time: self.relative_time,
            per_minute: self.per_minute,
            events_max: self.events_max,
            alerts: self.alerts.clone(),
            ..Settings::default()
        }
    }
}

/// The variables that matter, read once.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub no_color: bool,
    pub term: Option<String>,
    pub colorfgbg: Option<String>,
    pub home: Option<PathBuf>,
    pub config_home: Option<PathBuf>,
    pub state_home: Option<PathBuf>,
    /// The configuration of `evs`, if it is not in its usual place.
    pub evs_config: Option<PathBuf>,
}

impl Environment {
    #[must_use]
    pub fn read() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        Self {
            // no-color.org: present and not empty.
            no_color: text("NO_COLOR").is_some(),
            term: text("TERM"),
            colorfgbg: text("COLORFGBG"),
            home: std::env::home_dir(),
            config_home: folder("XDG_CONFIG_HOME"),
            state_home: folder("XDG_STATE_HOME"),
            evs_config: std::env::var_os("EVS_CONFIG").map(PathBuf::from),
        }
    }

    #[must_use]
    pub fn config_folder(&self) -> PathBuf {
        let home = || self.home.as_ref().map(|h| h.join(".config"));
        self.config_home.clone().or_else(home).unwrap_or_default().join("evs")
    }

    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        let home = || self.home.as_ref().map(|h| h.join(".local/state"));
        self.state_home.clone().or_else(home).unwrap_or_default().join("evs")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_printed_configuration_reads_back() {
        let text = toml::to_string_pretty(&Config::default()).unwrap();
        assert_eq!(Config::parse(&text).unwrap(), Config::default());
    }

    #[test]
    fn typos_are_told_with_what_there_is() {
        let error = Config::parse("thme = \"dark\"").unwrap_err();
        assert!(error.contains("thme") && error.contains("theme"), "{error}");
        assert!(Config::parse("theme = \"drak\"").unwrap_err().contains("high-contrast"));
        assert!(Config::parse("[[alerts]]\nmeasure = \"x\"\nabove = 1").is_err());
    }

    #[test]
    fn columns_and_colours_are_checked() {
        let config = Config::parse("columns = [\"subscriber\", \"lag\"]\n[context_colors]\nprod = \"red\"").unwrap();
        assert_eq!(config.columns, [SubscriberColumn::Subscriber, SubscriberColumn::Lag]);
        assert_eq!(config.context_colors["prod"].role(), Role::Bad);
        assert!(Config::parse("columns = [\"lag\"]").unwrap_err().contains("subscriber"));
        assert!(Config::parse("columns = [\"lga\"]").unwrap_err().contains("last_ack"));
        assert!(Config::parse("[context_colors]\nprod = \"pink\"").unwrap_err().contains("yellow"));
    }

    #[test]
    fn no_color_leaves_no_colour_to_bring_back() {
        let args = Args::parse_from(["evs-tui", "--theme", "dark"]);
        let no_color = Environment { no_color: true, ..Environment::default() };
        let settings = Config::default().settings(&args, &no_color);
        assert!(settings.colorless && settings.theme == Theme::Mono);
        let settings = Config::default().settings(&args, &Environment::default());
        assert!(!settings.colorless && settings.theme == Theme::Dark);
    }
}
