//! The keymap: one table that feeds dispatch, the footer, `?`, `--print-keys`, docs/keys.md and the mouse.

mod bindings;
mod chord;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use bindings::{Action, BINDINGS};
pub use chord::Chord;

/// Where a binding holds. Dispatch asks the most specific context first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Context {
    Global,
    /// Any list with a cursor.
    List,
    Overview,
    Subscribers,
    Subscriber,
    Events,
    Filters,
    Log,
    DeadLetters,
    Cluster,
    /// A text pane that scrolls: an explanation, a command.
    Pager,
    /// The keys themselves, searched as you type.
    Help,
    /// One line of text being typed.
    Prompt,
    Form,
    Confirm,
}

impl Context {
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Global => "Everywhere",
            Self::List => "Lists",
            Self::Overview => "Overview",
            Self::Subscribers => "Subscribers",
            Self::Subscriber => "One subscriber",
            Self::Events => "Events",
            Self::Filters => "Filters",
            Self::Log => "Log",
            Self::DeadLetters => "Dead letters",
            Self::Cluster => "Cluster",
            Self::Pager => "Text panes (why, command, dead letter)",
            Self::Help => "Help",
            Self::Prompt => "While typing a line",
            Self::Form => "Filter form",
            Self::Confirm => "Confirmation",
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    pub action: Action,
    /// The name that the configuration file and the palette use.
    pub name: &'static str,
    pub keys: &'static [&'static str],
    pub context: Context,
    /// One or two words for the footer; empty keeps it out of the footer.
    pub label: &'static str,
    pub help: &'static str,
}

/// The table with the operator's own keys laid over it.
#[derive(Clone, Debug)]
pub struct Keymap {
    keys: Vec<Vec<Chord>>,
}

impl Default for Keymap {
    fn default() -> Self {
        Self::new(&BTreeMap::new()).expect("the built-in keys parse, as a test shows")
    }
}

impl Keymap {
    /// # Errors
    /// If a name or a key is unknown; the message says which, and what there is.
    pub fn new(overrides: &BTreeMap<String, Vec<String>>) -> Result<Self, String> {
        for name in overrides.keys() {
            if !BINDINGS.iter().any(|b| b.name == name) {
                return Err(format!("[keys] has no action {name:?}; `evs-tui --print-keys` lists them"));
            }
        }
        let mut keys = Vec::with_capacity(BINDINGS.len());
        for binding in BINDINGS {
            let chords = match overrides.get(binding.name) {
                Some(own) => own.iter().map(|k| Chord::parse(k)).collect::<Result<_, _>>()?,
                None => binding.keys.iter().map(|k| Chord::parse(k)).collect::<Result<_, _>>()?,
            };
            keys.push(chords);
        }
        Ok(Self { keys })
    }

    /// What a key does, asked in the order of `contexts`.
    #[must_use]
    pub fn action(&self, contexts: &[Context], chord: Chord) -> Option<Action> {
        contexts.iter().find_map(|context| {
            BINDINGS
                .iter()
                .zip(&self.keys)
                .find(|(b, keys)| b.context == *context && keys.contains(&chord))
                .map(|(b, _)| b.action)
        })
    }

    /// The first key of an action in the most specific of `contexts`, for hints; empty if it was unbound.
    #[must_use]
    pub fn key_of(&self, action: Action, contexts: &[Context]) -> String {
        contexts
            .iter()
            .find_map(|c| self.rows(*c).find(|(b, keys)| b.action == action && !keys.is_empty()))
            .map(|(_, keys)| keys[0].to_string())
            .unwrap_or_default()
    }

    /// The rows of one context with their keys.
    pub fn rows(&self, context: Context) -> impl Iterator<Item = (&'static Binding, &[Chord])> {
        BINDINGS.iter().zip(self.keys.iter().map(Vec::as_slice)).filter(move |(b, _)| b.context == context)
    }

    /// As `--print-keys` shows it and docs/keys.md holds it.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "# Keys of evs-tui\n\nMade by `evs-tui --print-keys` from the table that dispatches them. The name is \
             what `[keys]` in `tui.toml` takes.\n",
        );
        for context in CONTEXTS {
            let _ = write!(out, "\n## {}\n\n| keys | does | name |\n| --- | --- | --- |\n", context.title());
            for (binding, keys) in self.rows(context) {
                let keys: Vec<_> = keys.iter().map(|k| format!("`{}`", k.to_string().replace('|', "\\|"))).collect();
                let _ = writeln!(out, "| {} | {} | `{}` |", keys.join(" "), binding.help, binding.name);
            }
        }
        out
    }
}

/// In the order of help and docs.
pub const CONTEXTS: [Context; 15] = [
    Context::Global,
    Context::List,
    Context::Overview,
    Context::Subscribers,
    Context::Subscriber,
    Context::Events,
    Context::Filters,
    Context::Log,
    Context::DeadLetters,
    Context::Cluster,
    Context::Pager,
    Context::Help,
    Context::Prompt,
    Context::Form,
    Context::Confirm,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_context() {
        let keymap = Keymap::default();
        for context in CONTEXTS {
            let mut seen: BTreeMap<String, &str> = BTreeMap::new();
            for (binding, keys) in keymap.rows(context) {
                for key in keys {
                    if let Some(other) = seen.insert(key.to_string(), binding.name) {
                        panic!("{key} is {other} and {} in {context:?}", binding.name);
                    }
                }
            }
        }
    }

    #[test]
    fn overrides_replace_and_unknown_names_are_refused() {
        let own = BTreeMap::from([("quit".to_owned(), vec!["Q".to_owned()])]);
        let keymap = Keymap::new(&own).unwrap();
        assert_eq!(keymap.action(&[Context::Global], Chord::parse("Q").unwrap()), Some(Action::Quit));
        assert_eq!(keymap.action(&[Context::Global], Chord::parse("q").unwrap()), None);
        let typo = BTreeMap::from([("qiut".to_owned(), vec![])]);
        assert!(Keymap::new(&typo).unwrap_err().contains("qiut"));
    }

    #[test]
    fn docs_hold_the_table() {
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/keys.md");
        let now = Keymap::default().markdown();
        if std::env::var_os("EVS_TUI_BLESS").is_some() {
            std::fs::write(docs, &now).unwrap();
        }
        let kept = std::fs::read_to_string(docs).unwrap_or_default();
        assert!(kept == now, "docs/keys.md is not the keymap: run this test with EVS_TUI_BLESS=1");
    }
}
