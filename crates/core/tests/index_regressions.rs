//! What the property tests of the index have found, each as the shortest story that shows it.

use bytes::Bytes;
use evs_core::index::{Match, MatchIndex, Scratch, Target};
use evs_core::{Event, Filter, FilterId, FilterVersion, Shard, Slot};

fn filter(types: &[&str], tiers: &[&str]) -> Filter {
    let boxed = |values: &[&str]| values.iter().map(|value| (*value).into()).collect();
    Filter::new(boxed(types), boxed(tiers), None, None).unwrap()
}

/// A filter with one entry joined the equal entry of a filter with several, which then forgot where its others were:
/// taken out, it went on matching.
#[test]
fn a_filter_with_several_entries_is_taken_out_whole() {
    let types = ["refund", "login", "logout"];
    let target = Target { shard: Shard(0), slot: Slot(0) };
    let event = Event::parse(Bytes::from_static(br#"{"user_tier":"premium","event_type":"refund"}"#)).unwrap();
    let mut index = MatchIndex::new();
    let (mut reader, mut scratch, mut found) = (index.reader(), Scratch::default(), Vec::new());
    index.insert(FilterId(22), target, &filter(&types, &["free", "premium"]));
    index.insert(FilterId(0), target, &filter(&types, &["free"]));
    index.publish(FilterVersion(1));
    reader.snapshot().matches(&event, &mut scratch, &mut found);
    assert_eq!(found, [Match { target, filter: FilterId(22) }]);
    index.remove(FilterId(22));
    index.publish(FilterVersion(2));
    reader.snapshot().matches(&event, &mut scratch, &mut found);
    assert_eq!(found, []);
}
