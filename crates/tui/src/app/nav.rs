//! Where the operator is: a history of screens, as a browser has one.

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Screen {
    #[default]
    Overview,
    Subscribers,
    /// One subscriber, opened from the list.
    Subscriber(String),
    Events,
    Filters,
    Log,
    DeadLetters,
    Cluster,
}

pub const TABS: [Screen; 7] = [
    Screen::Overview,
    Screen::Subscribers,
    Screen::Events,
    Screen::Filters,
    Screen::Log,
    Screen::DeadLetters,
    Screen::Cluster,
];

impl Screen {
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Subscribers | Self::Subscriber(_) => "Subscribers",
            Self::Events => "Events",
            Self::Filters => "Filters",
            Self::Log => "Log",
            Self::DeadLetters => "Dead letters",
            Self::Cluster => "Cluster",
        }
    }

    /// The place of its tab.
    #[must_use]
    pub fn tab(&self) -> usize {
        TABS.iter().position(|t| t.title() == self.title()).unwrap_or(0)
    }

    /// One level up, if there is one.
    #[must_use]
    pub fn parent(&self) -> Option<Screen> {
        match self {
            Self::Subscriber(_) => Some(Self::Subscribers),
            _ => None,
        }
    }
}

const HISTORY_MAX: usize = 50;

#[derive(Clone, Debug)]
pub struct Nav {
    visited: Vec<Screen>,
    at: usize,
    last: Option<Screen>,
}

impl Default for Nav {
    fn default() -> Self {
        Self { visited: vec![Screen::Overview], at: 0, last: None }
    }
}

impl Nav {
    #[must_use]
    pub fn screen(&self) -> &Screen {
        &self.visited[self.at]
    }

    pub fn go(&mut self, to: Screen) {
        if *self.screen() == to {
            return;
        }
        self.last = Some(self.screen().clone());
        self.visited.truncate(self.at + 1);
        self.visited.push(to);
        if self.visited.len() > HISTORY_MAX {
            self.visited.remove(0);
        }
        self.at = self.visited.len() - 1;
    }

    /// The screen before this one, wherever it is in the history.
    #[must_use]
    pub fn last(&self) -> Option<Screen> {
        self.last.clone()
    }

    pub fn back(&mut self) -> bool {
        let can = self.at > 0;
        if can {
            self.last = Some(self.screen().clone());
            self.at -= 1;
        }
        can
    }

    pub fn forward(&mut self) -> bool {
        let can = self.at + 1 < self.visited.len();
        if can {
            self.last = Some(self.screen().clone());
            self.at += 1;
        }
        can
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_goes_back_and_forward_and_a_new_way_cuts_it() {
        let mut nav = Nav::default();
        nav.go(Screen::Events);
        nav.go(Screen::Log);
        assert!(nav.back());
        assert_eq!(nav.screen(), &Screen::Events);
        assert!(nav.forward());
        assert!(!nav.forward());
        assert!(nav.back() && nav.back() && !nav.back());
        nav.go(Screen::Filters);
        assert!(!nav.forward());
        assert_eq!(nav.last(), Some(Screen::Overview));
    }
}
