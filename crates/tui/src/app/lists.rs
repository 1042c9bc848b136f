//! The rows of each list as they are filtered, and how the cursor moves over them.

use std::sync::Arc;

use evs_api::dead_letters::DeadLetter;
use evs_api::filters::Filter;
use evs_api::oplog::LogEntry;
use evs_api::stats::{InstanceStats, PartitionStats, ShardStats};
use evs_api::subscribers::{Consumer, Subscriber};

use super::screens::Held;
use super::{App, Screen};
use crate::data::EventRow;
use crate::list::Move;

impl App {
    #[must_use]
    pub fn subscriber_rows(&self) -> Vec<&Subscriber> {
        // Plain text was searched by the server, in all pages; the rest can only be looked for in this one.
        let find = &self.subscribers.find;
        self.data().subscribers.items.iter().filter(|row| find.matches(&row.id)).collect()
    }

    #[must_use]
    pub fn event_rows(&self) -> Vec<Arc<EventRow>> {
        let find = &self.events.find;
        let keep = |row: &&Arc<EventRow>| find.matches_any(row.event.texts());
        match &self.events.held {
            Some(held) => held.rows.iter().filter(keep).cloned().collect(),
            None => self.data().events.rows().iter().filter(keep).cloned().collect(),
        }
    }

    /// The event under the cursor: the newest one while following.
    #[must_use]
    pub fn selected_event(&self) -> Option<Arc<EventRow>> {
        let rows = self.event_rows();
        match self.events.list.selected {
            Some(n) if self.events.held.is_some() => rows.into_iter().find(|row| row.n == n),
            _ => rows.into_iter().next_back(),
        }
    }

    #[must_use]
    pub fn filter_rows(&self) -> Vec<&Filter> {
        let find = &self.filters.find;
        self.data().filters.items.iter().filter(|f| find.matches(&filter_text(f))).collect()
    }

    #[must_use]
    pub fn log_rows(&self) -> Vec<&Arc<LogEntry>> {
        let view = &self.log;
        self.data()
            .log
            .iter()
            .filter(|entry| entry.level >= view.level && view.find.matches(&log_text(entry)))
            .collect()
    }

    #[must_use]
    pub fn dead_letter_rows(&self) -> Vec<&DeadLetter> {
        let find = &self.dead_letters.find;
        self.data()
            .dead_letters
            .items
            .iter()
            .filter(|d| find.matches(&format!("{} {} {} {}", d.id, d.reason, d.detail, d.position)))
            .collect()
    }

    #[must_use]
    pub fn instance_rows(&self) -> &[InstanceStats] {
        self.data().stats.as_ref().map_or(&[], |s| s.instances.as_slice())
    }

    #[must_use]
    pub fn partition_rows(&self) -> &[PartitionStats] {
        self.data().stats.as_ref().map_or(&[], |s| s.partitions.as_slice())
    }

    #[must_use]
    pub fn shard_rows(&self) -> &[ShardStats] {
        self.data().stats.as_ref().map_or(&[], |s| s.shards.as_slice())
    }

    /// The subscriber that is opened, if its data is there.
    #[must_use]
    pub fn opened(&self) -> Option<&evs_api::subscribers::SubscriberDetail> {
        let Screen::Subscriber(id) = self.screen() else { return None };
        self.data().detail.as_deref().filter(|d| d.subscriber.id == *id)
    }

    #[must_use]
    pub fn consumer_rows(&self) -> &[Consumer] {
        self.opened().map_or(&[], |d| d.consumers.as_slice())
    }

    #[must_use]
    pub fn own_filter_rows(&self) -> &[Filter] {
        self.opened().map_or(&[], |_| self.data().detail_filters.as_slice())
    }

    /// Moves the cursor of the list that has the focus.
    pub(super) fn step(&mut self, by: Move) {
        match self.screen().clone() {
            Screen::Overview => {}
            Screen::Subscribers => {
                self.subscribers.moved_ms = self.now_ms;
                let keys: Vec<String> = self.subscriber_rows().iter().map(|s| s.id.clone()).collect();
                let moved = self.subscribers.list.step(&keys, by);
                match by {
                    Move::Down(_) | Move::PageDown if !moved => self.turn_page(true),
                    Move::Up(_) | Move::PageUp if !moved => self.turn_page(false),
                    _ => {}
                }
            }
            Screen::Subscriber(_) => match self.focus {
                0 => {
                    let keys: Vec<String> = self.consumer_rows().iter().map(|c| c.name.clone()).collect();
                    self.subscribers.consumers.step(&keys, by);
                }
                1 => {
                    let keys: Vec<u32> = self.own_filter_rows().iter().map(|f| f.id).collect();
                    self.subscribers.own_filters.step(&keys, by);
                }
                _ => {}
            },
            Screen::Events if self.events.detail && self.focus == 1 => self.step_detail(by),
            Screen::Events => self.step_events(by),
            Screen::Filters => {
                let keys: Vec<u32> = self.filter_rows().iter().map(|f| f.id).collect();
                self.filters.list.step(&keys, by);
            }
            Screen::Log => {
                let keys: Vec<u64> = self.log_rows().iter().map(|e| e.id).collect();
                if self.log.following {
                    self.log.list.select_at(&keys, usize::MAX);
                }
                self.log.following = by == Move::Bottom;
                self.log.list.step(&keys, by);
            }
            Screen::DeadLetters => {
                let keys: Vec<String> = self.dead_letter_rows().iter().map(|d| d.id.clone()).collect();
                self.dead_letters.list.step(&keys, by);
            }
            Screen::Cluster => match self.focus {
                0 => {
                    let keys: Vec<String> = self.instance_rows().iter().map(|i| i.id.clone()).collect();
                    self.cluster.instances.step(&keys, by);
                }
                1 => {
                    let keys: Vec<u32> = self.partition_rows().iter().map(|p| p.partition).collect();
                    self.cluster.partitions.step(&keys, by);
                }
                _ => {
                    let keys: Vec<u16> = self.shard_rows().iter().map(|s| s.shard).collect();
                    self.cluster.shards.step(&keys, by);
                }
            },
        }
    }

    /// Moving up leaves the tail: the rows are held as they are. The end follows again.
    fn step_events(&mut self, by: Move) {
        if by == Move::Bottom && self.paused.is_none() {
            self.follow();
            return;
        }
        if self.events.held.is_none() {
            if matches!(by, Move::Down(_) | Move::PageDown) {
                return;
            }
            self.hold_events();
            if self.events.held.is_none() {
                return;
            }
        }
        let keys: Vec<u64> = self.event_rows().iter().map(|row| row.n).collect();
        self.events.list.step(&keys, by);
        self.events.detail_scroll = 0;
    }

    /// Keeps the rows that are shown, with the cursor on the newest.
    pub(super) fn hold_events(&mut self) {
        let ring = &self.data().events;
        // Holding nothing would hide what comes.
        if ring.rows().is_empty() {
            return;
        }
        let held = Held { rows: ring.rows().iter().cloned().collect(), arrived: ring.arrived };
        self.events.held = Some(held);
        let keys: Vec<u64> = self.event_rows().iter().map(|row| row.n).collect();
        self.events.list.select_at(&keys, usize::MAX);
    }

    /// Goes on at the newest.
    pub(super) fn follow(&mut self) {
        self.events.held = None;
        self.events.list.selected = None;
        self.events.detail_scroll = 0;
    }

    fn step_detail(&mut self, by: Move) {
        let lines = self.selected_event().map_or(0, |row| crate::json::pretty(&row.event.json).len());
        let last = u16::try_from(lines).unwrap_or(u16::MAX).saturating_sub(1);
        let at = self.events.detail_scroll;
        let rows = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        self.events.detail_scroll = match by {
            Move::Up(n) => at.saturating_sub(rows(n)),
            Move::Down(n) => at.saturating_add(rows(n)),
            Move::PageUp => at.saturating_sub(10),
            Move::PageDown => at.saturating_add(10),
            Move::Top => 0,
            Move::Bottom => last,
        }
        .min(last);
    }

    /// Every cursor that is seen is on a row that is there.
    pub(super) fn settle(&mut self) {
        match self.screen() {
            Screen::Overview => {}
            Screen::Subscribers => {
                let keys: Vec<String> = self.subscriber_rows().iter().map(|s| s.id.clone()).collect();
                self.subscribers.list.settle(&keys);
            }
            Screen::Subscriber(_) => {
                let consumers: Vec<String> = self.consumer_rows().iter().map(|c| c.name.clone()).collect();
                self.subscribers.consumers.settle(&consumers);
                let filters: Vec<u32> = self.own_filter_rows().iter().map(|f| f.id).collect();
                self.subscribers.own_filters.settle(&filters);
            }
            Screen::Events => {
                if self.events.held.is_some() {
                    let keys: Vec<u64> = self.event_rows().iter().map(|row| row.n).collect();
                    self.events.list.settle(&keys);
                }
            }
            Screen::Filters => {
                let keys: Vec<u32> = self.filter_rows().iter().map(|f| f.id).collect();
                self.filters.list.settle(&keys);
            }
            Screen::Log => {
                let keys: Vec<u64> = self.log_rows().iter().map(|e| e.id).collect();
                if self.log.following {
                    self.log.list.select_at(&keys, usize::MAX);
                }
                self.log.list.settle(&keys);
            }
            Screen::DeadLetters => {
                let keys: Vec<String> = self.dead_letter_rows().iter().map(|d| d.id.clone()).collect();
                self.dead_letters.list.settle(&keys);
            }
            Screen::Cluster => {
                let keys: Vec<String> = self.instance_rows().iter().map(|i| i.id.clone()).collect();
                self.cluster.instances.settle(&keys);
                let keys: Vec<u32> = self.partition_rows().iter().map(|p| p.partition).collect();
                self.cluster.partitions.settle(&keys);
                let keys: Vec<u16> = self.shard_rows().iter().map(|s| s.shard).collect();
                self.cluster.shards.settle(&keys);
            }
        }
    }
}

/// The condition of a filter in one line.
#[must_use]
pub fn predicate(filter: &Filter) -> String {
    let spec = &filter.spec;
    let mut parts = Vec::new();
    if !spec.event_types.is_empty() {
        parts.push(format!("type {}", spec.event_types.join("|")));
    }
    if !spec.user_tiers.is_empty() {
        parts.push(format!("tier {}", spec.user_tiers.join("|")));
    }
    if let Some(min) = &spec.min_amount {
        parts.push(format!("amount >= {min}"));
    }
    if let Some(expression) = &spec.where_ {
        parts.push(expression.clone());
    }
    if parts.is_empty() { "everything".into() } else { parts.join(" && ") }
}

fn filter_text(filter: &Filter) -> String {
    let name = filter.spec.name.as_deref().unwrap_or_default();
    format!("{} {} {name} {}", filter.id, filter.spec.subscriber_id, predicate(filter))
}

fn log_text(entry: &LogEntry) -> String {
    let words = [&entry.subscriber, &entry.instance].map(|word| word.as_deref().unwrap_or_default());
    format!("{} {} {} {}", entry.kind, words[0], words[1], entry.message)
}
