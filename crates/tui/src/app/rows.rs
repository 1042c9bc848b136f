//! Actions on the row under the cursor: copy, mark, write to a file.

use std::collections::BTreeSet;

use base64::Engine as _;

use super::actions::text_overlay;
use super::{App, Screen};
use crate::keymap::Action;
use crate::message::Effect;

/// A row as the actions see it: its name, and how it is written to a file.
struct Row {
    id: String,
    json: String,
}

impl App {
    pub(super) fn on_row(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Copy => match self.selected_row() {
                Some(row) => self.copy(row.id),
                None => self.nothing(),
            },
            Action::CopyJson => match self.selected_row() {
                Some(row) => self.copy(row.json),
                None => self.nothing(),
            },
            Action::Mark => {
                self.mark();
                Vec::new()
            }
            Action::NextMark => {
                self.next_mark();
                Vec::new()
            }
            Action::WriteFile => self.write(),
            _ => Vec::new(),
        }
    }

    fn nothing(&mut self) -> Vec<Effect> {
        self.complain("no row under the cursor");
        Vec::new()
    }

    fn selected_row(&self) -> Option<Row> {
        match self.screen() {
            Screen::Overview => None,
            Screen::Subscribers => {
                let id = self.subscribers.list.selected.as_ref()?;
                let row = self.data().subscribers.items.iter().find(|s| s.id == *id)?;
                Some(Row { id: id.clone(), json: json(row) })
            }
            Screen::Subscriber(id) => match self.focus {
                0 => {
                    let name = self.subscribers.consumers.selected.as_ref()?;
                    let consumer = self.consumer_rows().iter().find(|c| c.name == *name)?;
                    // The cursor is what one resumes with.
                    Some(Row { id: consumer.cursor.clone(), json: json(consumer) })
                }
                1 => {
                    let filter_id = self.subscribers.own_filters.selected?;
                    let filter = self.own_filter_rows().iter().find(|f| f.id == filter_id)?;
                    Some(Row { id: filter_id.to_string(), json: json(filter) })
                }
                _ => Some(Row { id: id.clone(), json: self.opened().map(json).unwrap_or_default() }),
            },
            Screen::Events => {
                let row = self.selected_event()?;
                Some(Row { id: Self::event_id(&row), json: row.event.json.to_string() })
            }
            Screen::Filters => {
                let filter = self.selected_filter()?;
                Some(Row { id: filter.id.to_string(), json: json(filter) })
            }
            Screen::Log => {
                let id = self.log.list.selected?;
                let entry = self.log_rows().into_iter().find(|e| e.id == id)?;
                Some(Row { id: entry.message.clone(), json: json(&**entry) })
            }
            Screen::DeadLetters => {
                let id = self.dead_letters.list.selected.as_ref()?;
                let letter = self.data().dead_letters.items.iter().find(|d| d.id == *id)?;
                Some(Row { id: id.clone(), json: json(letter) })
            }
            Screen::Cluster => match self.focus {
                0 => {
                    let id = self.cluster.instances.selected.as_ref()?;
                    let instance = self.instance_rows().iter().find(|i| i.id == *id)?;
                    Some(Row { id: id.clone(), json: json(instance) })
                }
                1 => {
                    let id = self.cluster.partitions.selected?;
                    let partition = self.partition_rows().iter().find(|p| p.partition == id)?;
                    Some(Row { id: id.to_string(), json: json(partition) })
                }
                _ => {
                    let id = self.cluster.shards.selected?;
                    let shard = self.shard_rows().iter().find(|s| s.shard == id)?;
                    // The epoch is what logs and cursors name.
                    Some(Row { id: shard.epoch.clone(), json: json(shard) })
                }
            },
        }
    }

    fn mark(&mut self) {
        match self.screen() {
            Screen::Subscribers => toggle(&mut self.subscribers.marks, self.subscribers.list.selected.clone()),
            Screen::Events => {
                if self.events.held.is_none() && self.selected_event().is_some() {
                    self.hold_events();
                }
                toggle(&mut self.events.marks, self.events.list.selected);
            }
            Screen::Filters => toggle(&mut self.filters.marks, self.filters.list.selected),
            Screen::Log => {
                self.log.following = false;
                toggle(&mut self.log.marks, self.log.list.selected);
            }
            Screen::DeadLetters => toggle(&mut self.dead_letters.marks, self.dead_letters.list.selected.clone()),
            Screen::Overview | Screen::Subscriber(_) | Screen::Cluster => self.say("rows cannot be marked here"),
        }
    }

    fn next_mark(&mut self) {
        let found = match self.screen() {
            Screen::Subscribers => {
                let keys: Vec<String> = self.subscriber_rows().iter().map(|s| s.id.clone()).collect();
                let list = &mut self.subscribers.list;
                next_of(&keys, list.at(&keys), &self.subscribers.marks).map(|at| list.select_at(&keys, at))
            }
            Screen::Events => {
                let keys: Vec<u64> = self.event_rows().iter().map(|r| r.n).collect();
                let at = self.events.list.at(&keys);
                let next = next_of(&keys, at, &self.events.marks);
                if next.is_some() && self.events.held.is_none() {
                    self.hold_events();
                }
                next.map(|at| self.events.list.select_at(&keys, at))
            }
            Screen::Filters => {
                let keys: Vec<u32> = self.filter_rows().iter().map(|f| f.id).collect();
                let list = &mut self.filters.list;
                next_of(&keys, list.at(&keys), &self.filters.marks).map(|at| list.select_at(&keys, at))
            }
            Screen::Log => {
                let keys: Vec<u64> = self.log_rows().iter().map(|e| e.id).collect();
                let list = &mut self.log.list;
                next_of(&keys, list.at(&keys), &self.log.marks).map(|at| {
                    list.select_at(&keys, at);
                    self.log.following = false;
                })
            }
            Screen::DeadLetters => {
                let keys: Vec<String> = self.dead_letter_rows().iter().map(|d| d.id.clone()).collect();
                let list = &mut self.dead_letters.list;
                next_of(&keys, list.at(&keys), &self.dead_letters.marks).map(|at| list.select_at(&keys, at))
            }
            Screen::Overview | Screen::Subscriber(_) | Screen::Cluster => None,
        };
        if found.is_none() {
            self.say("no marked row in sight");
        }
    }

    /// The marked rows, or all that are shown.
    fn write(&mut self) -> Vec<Effect> {
        fn lines<'a, T: serde::Serialize + 'a, K: Ord>(
            rows: impl Iterator<Item = &'a T>,
            marks: &BTreeSet<K>,
            key: impl Fn(&T) -> K,
        ) -> Vec<String> {
            rows.filter(|row| marks.is_empty() || marks.contains(&key(row)))
                .filter_map(|row| serde_json::to_string(row).ok())
                .collect()
        }
        let (name, lines) = match self.screen() {
            Screen::Subscribers => {
                ("subscribers", lines(self.subscriber_rows().into_iter(), &self.subscribers.marks, |s| s.id.clone()))
            }
            Screen::Events => {
                let marks = &self.events.marks;
                let rows = self.event_rows();
                let kept = rows.iter().filter(|row| marks.is_empty() || marks.contains(&row.n));
                ("events", kept.map(|row| row.event.json.replace('\n', " ")).collect())
            }
            Screen::Filters => ("filters", lines(self.filter_rows().into_iter(), &self.filters.marks, |f| f.id)),
            Screen::Log => ("log", lines(self.log_rows().into_iter().map(|e| &**e), &self.log.marks, |e| e.id)),
            Screen::DeadLetters => {
                let marks = &self.dead_letters.marks;
                ("dead-letters", lines(self.dead_letter_rows().into_iter(), marks, |d| d.id.clone()))
            }
            Screen::Overview | Screen::Subscriber(_) | Screen::Cluster => {
                self.say("nothing to write here");
                return Vec::new();
            }
        };
        if lines.is_empty() {
            self.say("no rows to write");
            return Vec::new();
        }
        vec![Effect::Write { name: format!("evs-{name}"), lines }]
    }

    pub(super) fn open_dead_letter(&mut self) {
        let Some(id) = self.dead_letters.list.selected.clone() else { return };
        let Some(letter) = self.data().dead_letters.items.iter().find(|d| d.id == id) else { return };
        let bytes = base64::engine::general_purpose::STANDARD.decode(&letter.payload_base64).unwrap_or_default();
        let time = crate::format::time(self.now_ms, letter.time_ms, false);
        let text = format!(
            "{}: {}\nat {time} UTC, from {}\n\n{}",
            letter.reason,
            letter.detail,
            letter.position,
            String::from_utf8_lossy(&bytes)
        );
        self.overlay = Some(text_overlay(&format!("Dead letter {id}"), text));
    }
}

fn json<T: serde::Serialize>(row: &T) -> String {
    serde_json::to_string(row).unwrap_or_default()
}

fn toggle<K: Ord>(marks: &mut BTreeSet<K>, key: Option<K>) {
    if let Some(key) = key
        && !marks.remove(&key)
    {
        marks.insert(key);
    }
}

/// The marked row after `at`, going round.
fn next_of<K: Ord>(keys: &[K], at: Option<usize>, marks: &BTreeSet<K>) -> Option<usize> {
    let from = at.map_or(0, |at| at + 1);
    (0..keys.len()).map(|i| (from + i) % keys.len()).find(|i| marks.contains(&keys[*i]))
}
