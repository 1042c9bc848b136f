//! The `evs` and curl commands that give what the screen shows, for scripts and tickets.

use super::{App, Screen};
use crate::format::shell_quote;
use crate::message::EventsQuery;

impl App {
    /// The `evs` command for this screen.
    #[must_use]
    pub fn command(&self) -> String {
        match self.screen() {
            Screen::Overview | Screen::Cluster => "evs stats".into(),
            Screen::Subscribers => {
                let mut command = format!("evs subscribers list --sort {}", self.subscribers.sort.name());
                if self.subscribers.ascending {
                    command.push_str(" --order asc");
                }
                if let Some(text) = self.subscribers.find.plain() {
                    command.push_str(&format!(" --query {}", shell_quote(text)));
                }
                command
            }
            Screen::Subscriber(id) => format!("evs subscribers get {}", shell_quote(id)),
            Screen::Events => tail(&self.events.query),
            Screen::Filters => match self.filters.list.selected {
                Some(id) => format!("evs filter get {id}"),
                None => "evs filter list".into(),
            },
            Screen::Log => "evs log".into(),
            Screen::DeadLetters => "evs dlq list".into(),
        }
    }

    /// The same over HTTP.
    #[must_use]
    pub fn curl(&self) -> String {
        let server = self.settings.server.trim_end_matches('/');
        let get = |path: &str| format!("curl -s {}", shell_quote(&format!("{server}{path}")));
        let stream = |path: &str| format!("curl -sN {}", shell_quote(&format!("{server}{path}")));
        match self.screen() {
            Screen::Overview | Screen::Cluster => get("/stats"),
            Screen::Subscribers => {
                let query = self.subscribers.query();
                let order = if query.ascending { "asc" } else { "desc" };
                let mut path = format!("/subscribers?sort={}&order={order}", query.sort.name());
                if let Some(text) = &query.contains {
                    path.push_str(&format!("&q={}", percent(text)));
                }
                get(&path)
            }
            Screen::Subscriber(id) => get(&format!("/subscribers/{}", percent(id))),
            Screen::Events => {
                let condition = self.events.query.where_.as_deref().map(|w| format!("where={}", percent(w)));
                match &self.events.query.subscriber {
                    None => stream(&format!("/events/stream?{}", condition.unwrap_or_default())),
                    Some(id) => {
                        let more = condition.map(|c| format!("&{c}")).unwrap_or_default();
                        format!("curl -sN '<gateway>/sse/{}?observe=true{more}'", percent(id))
                    }
                }
            }
            Screen::Filters => match self.filters.list.selected {
                Some(id) => get(&format!("/filters/{id}")),
                None => get("/filters"),
            },
            Screen::Log => stream("/log/stream"),
            Screen::DeadLetters => get("/dead-letters"),
        }
    }
}

fn tail(query: &EventsQuery) -> String {
    let mut command = String::from("evs tail");
    match &query.subscriber {
        Some(id) => command.push_str(&format!(" {} --observe", shell_quote(id))),
        None => command.push_str(" --all"),
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
        assert_eq!(tail(&query), "evs tail --all --where 'country == \"DE\"'");
        assert_eq!(percent("a b&c"), "a%20b%26c");
    }
}
