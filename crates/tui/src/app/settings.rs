//! What the operator chose: by flags, by the configuration file, or by keys while it runs.

use crate::symbols::{Symbols, symbols};
use crate::theme::{Role, Theme};

use super::alerts::Rule;
use super::columns::{SUBSCRIBER_COLUMNS, SubscriberColumn};

#[derive(Clone, Debug)]
pub struct Settings {
    /// What the header calls the server: the context's name, or its address.
    pub target: String,
    /// The addresses, for the commands that `o` shows.
    pub server: String,
    pub gateway: String,
    /// What `evs` needs to talk to this server, ready for a shell and with a space before it: empty if it does anyway.
    pub evs_flags: String,
    /// How a shell calls curl with what this server needs.
    pub curl: String,
    /// How the header shows the target's name.
    pub target_role: Role,
    /// Names that `:ctx` completes.
    pub contexts: Vec<String>,
    pub theme: Theme,
    /// Colour is off by `NO_COLOR`, `--color never` or the terminal: `t` must not bring it back.
    pub colorless: bool,
    pub ascii: bool,
    pub read_only: bool,
    pub mouse: bool,
    pub bell: bool,
    /// A notification of the desktop (OSC 9) when an alert is raised.
    pub notify: bool,
    pub reduced_motion: bool,
    /// Columns of the subscribers table, in this order.
    pub columns: Vec<SubscriberColumn>,
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
            gateway: "http://localhost:8003".into(),
            evs_flags: String::new(),
            curl: "curl".to_owned(),
            target_role: Role::Context,
            contexts: Vec::new(),
            theme: Theme::Auto,
            colorless: false,
            ascii: false,
            read_only: false,
            mouse: true,
            bell: false,
            notify: false,
            reduced_motion: false,
            columns: SUBSCRIBER_COLUMNS.to_vec(),
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
