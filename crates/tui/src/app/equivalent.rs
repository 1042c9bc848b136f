//! The `evs` and curl commands that give what the screen shows, for scripts and tickets.

use super::{App, Screen};
use crate::format::shell_quote;
use crate::message::{EventsQuery, Sort};

impl App {
    /// The `evs` command for this screen; curl where `evs` has none.
    #[must_use]
    pub fn command(&self) -> String {
        let command = match self.screen() {
            Screen::Overview | Screen::Cluster => "stats".into(),
            Screen::Subscribers => {
                let mut command = format!("subscribers list --sort {}", cli_sort(self.subscribers.sort));
                if self.subscribers.ascending {
                    command.push_str(" --ascending");
                }
                if let Some(states) = self.subscribers.query().states() {
                    command.push_str(&format!(" --state {states}"));
                }
                if let Some(text) = self.subscribers.find.plain() {
                    command.push_str(&format!(" --search {}", shell_quote(text)));
                }
                command
            }
            Screen::Subscriber(id) => format!("subscribers get {}", shell_quote(id)),
            Screen::Events => tail(&self.events.query),
            Screen::Filters => match self.filters.list.selected {
                Some(id) => format!("filter get {id}"),
                None => "filter list".into(),
            },
            Screen::Log => return self.curl(),
            Screen::DeadLetters => "dlq list".into(),
        };
        format!("evs{} {command}", self.settings.evs_flags)
    }

    /// The same over HTTP.
    #[must_use]
    pub fn curl(&self) -> String {
        let curl = &self.settings.curl;
        let of = |base: &str, path: &str| shell_quote(&format!("{}{path}", base.trim_end_matches('/')));
        let get = |path: &str| format!("{curl} -s {}", of(&self.settings.server, path));
        match self.screen() {
            Screen::Overview | Screen::Cluster => get("/stats"),
            Screen::Subscribers => {
                let query = self.subscribers.query();
                let order = if query.ascending { "asc" } else { "desc" };
                let mut path = format!("/subscribers?sort={}&order={order}", query.sort.name());
                if let Some(states) = query.states() {
                    path.push_str(&format!("&state={states}"));
                }
                if let Some(text) = &query.contains {
                    path.push_str(&format!("&q={}", percent(text)));
                }
                get(&path)
            }
            Screen::Subscriber(id) => get(&format!("/subscribers/{}", percent(id))),
            Screen::Events => {
                let condition = self.events.query.where_.as_deref().map(|w| format!("where={}", percent(w)));
                let (base, path) = match &self.events.query.subscriber {
                    None => (&self.settings.server, "/events/stream".to_owned()),
                    Some(id) => (&self.settings.gateway, format!("/sse/{}?observe=true", percent(id))),
                };
                let joint = if path.contains('?') { '&' } else { '?' };
                let path = condition.map_or(path.clone(), |c| format!("{path}{joint}{c}"));
                format!("{curl} -sN {}", of(base, &path))
            }
            Screen::Filters => match self.filters.list.selected {
                Some(id) => get(&format!("/filters/{id}")),
                None => get("/filters"),
            },
            Screen::Log => get("/log"),
            Screen::DeadLetters => get("/dead-letters"),
        }
    }
}

/// As `evs subscribers list --sort` takes it.
fn cli_sort(sort: Sort) -> &'static str {
    match sort {
        Sort::LagEvents => "lag",
        Sort::LagS => "lag-time",
        Sort::Id => "id",
        Sort::State => "state",
        Sort::Filters => "filters",
        Sort::DeliveredPerS => "rate",
        Sort::LastAck => "last-ack",
    }
}

fn tail(query: &EventsQuery) -> String {
    let mut command = String::from("tail");
    if let Some(id) = &query.subscriber {
        command.push_str(&format!(" {}", shell_quote(id)));
    }
    if let Some(condition) = &query.where_ {
        command.push_str(&format!(" --where {}", shell_quote(condition)));
    }
    command
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_survives_shell_and_url() {
        let query = EventsQuery { subscriber: None, where_: Some("country == \"DE\"".into()) };
        assert_eq!(tail(&query), "tail --where 'country == \"DE\"'");
        assert_eq!(percent("a b&c"), "a%20b%26c");
    }
}
