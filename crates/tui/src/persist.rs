//! What was open last time, per context: `evs/tui.json` in the state folder.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::app::columns::{self, SubscriberColumn};
use crate::app::{App, Screen, Settings, nav::TABS};
use crate::message::Sort;
use crate::theme::Theme;

/// Contexts that are remembered; the file must not grow for ever.
const CONTEXTS_MAX: usize = 50;

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    #[serde(default)]
    contexts: BTreeMap<String, State>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    view: usize,
    sort: Sort,
    ascending: bool,
    window_s: Option<u32>,
    /// Only if it was chosen with a key.
    theme: Option<Theme>,
    relative_time: bool,
    /// Only if they were chosen with `:columns`.
    columns: Option<Vec<SubscriberColumn>>,
    per_minute: bool,
}

impl State {
    #[must_use]
    pub fn of(app: &App, at_start: &Settings) -> Self {
        let chosen = app.settings.theme;
        Self {
            view: app.screen().tab(),
            sort: app.subscribers.sort,
            ascending: app.subscribers.ascending,
            window_s: Some(app.window_s),
            theme: Some(chosen).filter(|t| *t != at_start.theme && !app.settings.colorless),
            columns: Some(app.settings.columns.clone()).filter(|c| *c != at_start.columns),
            relative_time: app.settings.relative_time,
            per_minute: app.settings.per_minute,
        }
    }

    /// A theme on the command line goes before the one of last time.
    pub fn apply(&self, app: &mut App, theme_is_given: bool) {
        if let Some(tab) = TABS.get(self.view)
            && *tab != Screen::Overview
        {
            app.nav.go(tab.clone());
        }
        app.subscribers.sort = self.sort;
        app.subscribers.ascending = self.ascending;
        if let Some(window_s) = self.window_s {
            app.window_s = window_s.clamp(30, 3600);
        }
        if let (Some(theme), false, false) = (self.theme, theme_is_given, app.settings.colorless) {
            app.settings.theme = theme;
        }
        if let Some(columns) = self.columns.as_ref().filter(|c| columns::check(c).is_ok()) {
            app.settings.columns.clone_from(columns);
        }
        app.settings.relative_time |= self.relative_time;
        app.settings.per_minute |= self.per_minute;
    }
}

/// The state of a context. A broken file is as good as none: nothing in it is worth an error.
#[must_use]
pub fn load(path: &Path, context: &str) -> State {
    read(path).contexts.remove(context).unwrap_or_default()
}

/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, context: &str, state: State) -> std::io::Result<()> {
    let mut file = read(path);
    file.contexts.insert(context.to_owned(), state);
    while file.contexts.len() > CONTEXTS_MAX {
        file.contexts.pop_first();
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Whole or not at all: two dashboards may end at once.
    let new = path.with_extension(format!("new-{}", std::process::id()));
    std::fs::write(&new, serde_json::to_vec_pretty(&file)?)?;
    std::fs::rename(&new, path)
}

fn read(path: &Path) -> File {
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keymap::Keymap;

    #[test]
    fn each_context_has_its_own_state_and_a_broken_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evs/tui.json");
        let mut app = App::new(Settings::default(), Keymap::default(), 0, (80, 24));
        app.nav.go(Screen::Filters);
        app.subscribers.sort = Sort::Id;
        app.settings.columns = columns::parse("subscriber,lag").unwrap();
        let state = State::of(&app, &Settings::default());
        save(&path, "prod", state.clone()).unwrap();
        assert_eq!(load(&path, "prod"), state);
        assert_eq!(load(&path, "dev"), State::default());
        let mut again = App::new(Settings::default(), Keymap::default(), 0, (80, 24));
        state.apply(&mut again, false);
        assert_eq!(again.settings.columns, app.settings.columns);
        assert_eq!((again.screen(), again.subscribers.sort), (&Screen::Filters, Sort::Id));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(load(&path, "prod"), State::default());
    }
}
