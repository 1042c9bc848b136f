//! Whether an action can be done now, and if not, why: the footer greys it, and pressing it says the reason.

use super::{App, Screen};
use crate::keymap::Action;
use crate::message::Connection;

impl App {
    /// # Errors
    /// The reason, for the operator.
    pub fn enabled(&self, action: Action) -> Result<(), &'static str> {
        if changes_the_server(action) {
            if self.settings.read_only {
                return Err("off: evs-tui was started with --read-only");
            }
            if self.connection != Connection::Connected {
                return Err("not connected");
            }
        }
        let there = |yes: bool, reason: &'static str| if yes { Ok(()) } else { Err(reason) };
        match action {
            Action::Explain => there(self.selected_event().is_some(), "no event to explain"),
            Action::SubscriberEvents if *self.screen() == Screen::Subscribers => {
                there(self.subscribers.list.selected.is_some(), "no subscriber under the cursor")
            }
            Action::FilterEdit | Action::FilterDelete | Action::FilterEvents => {
                there(self.filters.list.selected.is_some(), "no filter under the cursor")
            }
            Action::SaveAsFilter => there(self.events.query.where_.is_some(), "type a condition with w first"),
            Action::Redrive | Action::Purge => {
                there(self.dead_letters.list.selected.is_some(), "no dead letter under the cursor")
            }
            Action::RedriveAll | Action::PurgeAll => {
                there(!self.data().dead_letters.items.is_empty(), "there are no dead letters")
            }
            Action::AllEvents => there(self.events.query.subscriber.is_some(), "these are all events already"),
            Action::Follow if *self.screen() == Screen::Events => {
                there(self.events.held.is_some() || self.paused.is_some(), "following already")
            }
            Action::Follow => there(!self.log.following, "following already"),
            Action::SearchNext | Action::SearchPrev => {
                there(self.events.find.is_active() && self.events.detail, "open an event and filter with / first")
            }
            Action::LastView => there(self.nav.last().is_some(), "no view before this one"),
            Action::NextTheme => there(!self.settings.colorless, "colour is off (NO_COLOR, --color or TERM)"),
            Action::Find => there(self.find().is_some(), "nothing to filter here"),
            Action::Open if matches!(self.screen(), Screen::Subscriber(_)) && self.focus == 0 => {
                Err("nothing to open here; tab goes to its filters and events")
            }
            Action::Open if *self.screen() == Screen::Cluster => Err("nothing to open here"),
            Action::Mark | Action::NextMark | Action::Copy | Action::CopyJson | Action::WriteFile => {
                let lists = !matches!(self.screen(), Screen::Overview);
                there(lists, "nothing to act on here")
            }
            _ => Ok(()),
        }
    }
}

fn changes_the_server(action: Action) -> bool {
    use Action as A;
    matches!(
        action,
        A::FilterNew
            | A::FilterEdit
            | A::FilterDelete
            | A::SaveAsFilter
            | A::Redrive
            | A::RedriveAll
            | A::Purge
            | A::PurgeAll
    )
}
