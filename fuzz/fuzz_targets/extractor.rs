//! Any bytes as an event: reading fields in one pass finds what the parsed tree has.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use evs_core::index::{Match, MatchIndex, Scratch, Snapshot, Target};
use evs_core::{Event, Filter, FilterId, FilterVersion, Shard, Slot};
use libfuzzer_sys::fuzz_target;

const TARGET: Target = Target { shard: Shard(0), slot: Slot(0) };

/// Every kind of test on fields at every depth, so that each byte of an event can make a difference.
const FILTERS: [&str; 22] = [
    "has(a)",
    "!has(a)",
    "has(a.b)",
    "!has(a.b)",
    "has(a.b.c)",
    "a == 0",
    "a != 0",
    "a == \"a\"",
    "a == \"\\u00e9\"",
    "a >= 9007199254740992",
    "a > 9007199254740993",
    "a < 0.1",
    "a > 0.1 && a <= 0.5",
    "a.b == null",
    "a.b",
    "!a.b",
    "b.startsWith(\"a\")",
    "b.contains(\"\\n\")",
    "b[0] == 1",
    "b[1].c == true",
    "b[1].c != \"x\"",
    "a[\"\"] == 1 || a[\"a b\"] in [1, \"1\", true, null]",
];

struct Setting {
    filters: Vec<Filter>,
    snapshot: Arc<Snapshot>,
    scratch: Scratch,
}

impl Setting {
    fn new() -> Self {
        let filters: Vec<Filter> =
            FILTERS.iter().map(|text| Filter::new(vec![], vec![], None, Some(text)).expect("valid")).collect();
        let mut index = MatchIndex::new();
        for (id, filter) in (0..).zip(&filters) {
            index.insert(FilterId(id), TARGET, filter);
        }
        index.publish(FilterVersion(1));
        let snapshot = Arc::clone(index.reader().snapshot());
        Self { filters, snapshot, scratch: Scratch::default() }
    }
}

thread_local! {
    static SETTING: RefCell<Setting> = RefCell::new(Setting::new());
}

fuzz_target!(|bytes: &[u8]| {
    SETTING.with_borrow_mut(|setting| {
        let mut found = Vec::new();
        let bytes = Bytes::copy_from_slice(bytes);
        let Ok(event) = Event::parse(bytes.clone()) else {
            setting.snapshot.matches(&Event::trusted(bytes), &mut setting.scratch, &mut found);
            return;
        };
        setting.snapshot.matches(&event, &mut setting.scratch, &mut found);
        let value = event.value();
        let wanted = (0..).zip(&setting.filters).filter(|(_, filter)| filter.matches_value(&value));
        let wanted: Vec<Match> = wanted.map(|(id, _)| Match { target: TARGET, filter: FilterId(id) }).collect();
        assert_eq!(found, wanted, "{event:?}");
    });
});
