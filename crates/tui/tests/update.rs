//! What keys and messages do to the model: tables of keys and what is true afterwards.

use std::sync::Arc;

use evs_api::dead_letters::DeadLetter;
use evs_api::events::EventHeader;
use evs_api::stats::Stats;
use evs_tui::app::alerts::{Measure, Rule};
use evs_tui::app::events::detail_lines;
use evs_tui::app::{App, Overlay, Screen, Settings};
use evs_tui::demo::stage::Stage;
use evs_tui::json;
use evs_tui::message::{
    Answer, Ask, Connection, DroppedBy, Effect, EventsQuery, FeedMessage, Headers, Incoming, Message, Pointer, Sort,
    Target,
};

fn stage() -> Stage {
    Stage::running(Settings::default(), (120, 40), 5)
}

/// A name, keys, and what must be true of the model.
type Case = (&'static str, &'static str, fn(&App) -> bool);

fn check(cases: &[Case]) {
    for (name, keys, holds) in cases {
        let mut stage = stage();
        stage.press(keys);
        assert!(holds(&stage.app), "{name}: {keys}");
    }
}

#[test]
fn going_around() {
    check(&[
        ("a number", "4", |a| *a.screen() == Screen::Filters),
        ("tab where there is one pane", "2 tab", |a| *a.screen() == Screen::Events),
        ("tab where there are panes", "tab tab", |a| *a.screen() == Screen::Overview && a.focus == 2),
        ("shift-tab goes round", "shift-tab", |a| a.focus == 4),
        ("last view", "2 5 -", |a| *a.screen() == Screen::Subscribers),
        ("history", "2 5 [ [", |a| *a.screen() == Screen::Overview),
        ("history forward", "2 5 [ [ ]", |a| *a.screen() == Screen::Subscribers),
        ("drill down", "2 enter", |a| matches!(a.screen(), Screen::Subscriber(_))),
        ("and up", "2 enter esc", |a| *a.screen() == Screen::Subscribers),
        ("to its events", "2 enter v", |a| *a.screen() == Screen::Events && a.events.query.subscriber.is_some()),
        ("and up to it", "2 enter v esc", |a| matches!(a.screen(), Screen::Subscriber(_))),
        ("palette", ": \"sub billing\" enter", |a| *a.screen() == Screen::Subscriber("billing".into())),
        ("palette completes", ": \"clu\" tab enter", |a| *a.screen() == Screen::Cluster),
        ("palette takes actions by name", "2 : \"sort-reverse\" enter", |a| a.subscribers.ascending),
        ("an unknown command says so", ": \"frobnicate\" enter", |a| a.toast.as_ref().unwrap().bad),
        ("expand", "z", |a| a.expanded),
        ("esc gives it back", "z esc", |a| !a.expanded),
        ("help", "?", |a| matches!(a.overlay, Some(Overlay::Help(_)))),
        ("help is searched", "? \"sort\"", |a| matches!(&a.overlay, Some(Overlay::Help(h)) if h.find.text() == "sort")),
        ("esc clears the search, then closes", "? \"sort\" esc esc", |a| a.overlay.is_none()),
        ("theme", "t", |a| a.settings.theme.name() == "dark"),
        ("zoom", "+", |a| a.window_s == 60),
        ("zoom out", "- -", |a| a.window_s == 900),
    ]);
}

#[test]
fn filters_act_while_they_are_typed() {
    check(&[
        ("while typing", "2 / \"bill\"", |a| a.subscriber_rows().len() == 1 && a.prompt.is_some()),
        ("enter keeps it", "2 / \"bill\" enter", |a| a.subscribers.find.is_active() && a.prompt.is_none()),
        ("esc drops it", "2 / \"bill\" esc", |a| !a.subscribers.find.is_active()),
        ("esc later clears it", "2 / \"bill\" enter esc", |a| !a.subscribers.find.is_active()),
        ("without", "2 / \"!user\" enter", |a| a.subscriber_rows().iter().all(|s| !s.id.contains("user"))),
        ("a regular expression", "2 / \"~^user_.$\" enter", |a| {
            a.subscriber_rows().iter().all(|s| s.id.len() == "user_1".len())
        }),
        ("a broken one hides nothing", "4 / \"~(\"", |a| {
            a.filters.find.error().is_some() && !a.filter_rows().is_empty()
        }),
        ("of events", "3 / \"purchase\" enter", |a| a.event_rows().iter().all(|r| r.event.json.contains("purchase"))),
        ("older entries come back", "2 / \"bill\" enter esc / up", |a| a.subscribers.find.text() == "bill"),
    ]);
}

#[test]
fn sorting_keeps_the_row_under_the_cursor() {
    let mut stage = stage();
    stage.press("2 / \"user_5\" enter down down down");
    let chosen = stage.app.subscribers.list.selected.clone();
    stage.wait(3_000);
    stage.press("S");
    stage.wait(1_000);
    assert!(stage.app.subscribers.ascending);
    stage.press("S");
    stage.wait(1_000);
    assert_eq!(stage.app.subscribers.list.selected, chosen);
    stage.press("s");
    assert_eq!(stage.app.subscribers.sort, Sort::LagS);
}

#[test]
fn rows_stay_in_place_for_a_moment_after_the_cursor_moved() {
    let mut stage = stage();
    stage.press("2");
    stage.wait(3_000);
    let before: Vec<String> = stage.app.subscriber_rows().iter().map(|s| s.id.clone()).collect();
    stage.press("down");
    stage.wait(1_000);
    let after: Vec<String> = stage.app.subscriber_rows().iter().map(|s| s.id.clone()).collect();
    assert_eq!(before, after);
}

#[test]
fn pages_come_from_the_server() {
    let mut stage = stage();
    stage.press("2 >");
    stage.wait(1_000);
    assert_eq!(stage.app.subscribers.pages.number(), 1);
    assert_eq!(stage.app.subscriber_rows().len(), 140);
    stage.press("G down");
    assert!(stage.app.toast.as_ref().unwrap().text.contains("last page"));
    stage.press("<");
    stage.wait(1_000);
    assert_eq!(stage.app.subscriber_rows().len(), 200);
}

#[test]
fn scrolling_up_leaves_the_tail_and_the_end_follows_again() {
    let settings = Settings { events_max: 500, ..Settings::default() };
    let mut stage = Stage::running(settings, (120, 40), 5);
    stage.press("3");
    stage.wait(2_000);
    stage.press("up up");
    let chosen = stage.app.selected_event().unwrap();
    let rows = stage.app.event_rows().len();
    // Long enough for the ring to have forgotten it.
    stage.wait(30_000);
    assert_eq!(stage.app.selected_event().unwrap().n, chosen.n);
    assert_eq!(stage.app.event_rows().len(), rows);
    let held = stage.app.events.held.as_ref().unwrap();
    assert!(stage.app.live.events.arrived > held.arrived + 1_000);
    stage.press("G");
    assert!(stage.app.events.held.is_none());
    assert_eq!(stage.app.selected_event().unwrap().n, stage.app.live.events.arrived);
}

#[test]
fn nothing_is_held_before_the_first_event() {
    let mut stage = stage();
    stage.press("3 w \"amount > 100000\" enter up enter");
    assert!(stage.app.events.held.is_none(), "what comes would be hidden");
}

#[test]
fn a_pause_freezes_the_view_while_collection_goes_on() {
    let mut stage = stage();
    stage.press("space");
    let frozen = stage.app.data().history.len();
    stage.wait(5_000);
    assert_eq!(stage.app.data().history.len(), frozen);
    assert!(stage.app.live.history.len() > frozen);
    stage.press("space");
    assert!(stage.app.data().history.len() > frozen);
    stage.press("space 2");
    assert!(stage.app.paused.is_none(), "a pause belongs to its view");
}

#[test]
fn conditions_are_checked_while_they_are_typed() {
    let mut stage = stage();
    stage.press("3 w \"amount >= && x\"");
    let mistake = stage.app.prompt.as_ref().unwrap().mistake.clone().unwrap();
    assert_eq!(mistake.span.0, 10);
    stage.press("enter");
    assert!(stage.app.prompt.is_some(), "what was typed is not thrown away");
    stage.press("ctrl-u \"amount > 100\" enter");
    assert_eq!(stage.app.wants().events.unwrap().where_.as_deref(), Some("amount > 100"));
    stage.wait(5_000);
    assert!(stage.app.live.events.arrived > 0);
    stage.press("esc");
    assert_eq!(stage.app.wants().events.unwrap(), EventsQuery::default());
}

#[test]
fn why_names_the_clause() {
    let mut stage = stage();
    stage.press("3");
    stage.wait(1_000);
    stage.press("x \"fraud-desk\" enter");
    let Some(Overlay::Why(why)) = &stage.app.overlay else { panic!("no explanation") };
    let explanation = why.answer.as_ref().unwrap().as_ref().unwrap();
    assert_eq!(explanation.filters.len(), 2);
    assert!(explanation.filters.iter().all(|f| !f.clauses.is_empty()));
    assert!(stage.app.events.held.is_some(), "the event does not run away");
}

#[test]
fn a_filter_is_tried_before_it_is_saved() {
    let mut stage = stage();
    stage.wait(3_000);
    stage.press("4 a \"billing\" tab tab tab tab tab \"amount > 100\" enter");
    let Some(Overlay::Form(form)) = &stage.app.overlay else { panic!("no form") };
    assert!(form.is_tested(&form.spec().unwrap()));
    let before = stage.app.live.filters.total;
    stage.press("enter");
    stage.wait(1_000);
    assert!(stage.app.overlay.is_none());
    assert_eq!(stage.app.live.filters.total, before.map(|n| n + 1));
}

#[test]
fn deleting_asks_first() {
    let mut stage = stage();
    stage.press("4");
    let before = stage.app.live.filters.total;
    stage.press("d n");
    stage.wait(1_000);
    assert_eq!(stage.app.live.filters.total, before);
    stage.press("d y");
    stage.wait(1_000);
    assert_eq!(stage.app.live.filters.total, before.map(|n| n - 1));
}

#[test]
fn read_only_changes_nothing_and_says_why() {
    let mut stage = Stage::running(Settings { read_only: true, ..Settings::default() }, (120, 40), 5);
    for keys in ["4 d", "4 a", "4 E", "6 r", "6 D", ": \"filter new\" enter"] {
        stage.press(keys);
        assert!(stage.app.toast.as_ref().unwrap().text.contains("--read-only"), "{keys}");
        assert!(stage.app.overlay.is_none(), "{keys}");
    }
    stage.press("4 enter");
    assert!(matches!(stage.app.overlay, Some(Overlay::Text(_))), "a filter can still be read");
}

#[test]
fn losing_the_server_keeps_the_data_and_stops_changes() {
    let mut stage = stage();
    stage.press("4");
    stage.online = false;
    let at_ms = stage.now_ms + 5_000;
    let lost = Connection::Retrying { attempt: 1, at_ms, why: "reset".into() };
    stage.send(Message::Feed(FeedMessage::Connection(lost)));
    stage.wait(10_000);
    assert!(stage.app.is_stale() && !stage.app.filter_rows().is_empty());
    stage.press("d");
    assert_eq!(stage.app.toast.as_ref().unwrap().text, "not connected");
}

#[test]
fn marked_filters_are_deleted_together() {
    let mut stage = stage();
    stage.press("4");
    let first = |stage: &Stage| -> Vec<u32> { stage.app.filter_rows().iter().take(2).map(|it| it.id).collect() };
    let before: Vec<u32> = stage.app.filter_rows().iter().take(4).map(|filter| filter.id).collect();
    stage.press("m down down m d");
    let Some(Overlay::Confirm(confirm)) = &stage.app.overlay else { panic!("no question") };
    assert_eq!(confirm.question, "Delete 2 marked filters?");
    stage.press("y");
    stage.wait(2_000);
    assert_eq!(first(&stage), [before[1], before[3]]);
    assert!(stage.app.filters.marks.is_empty());
    stage.press("d");
    let Some(Overlay::Confirm(confirm)) = &stage.app.overlay else { panic!("no question") };
    assert!(confirm.question.starts_with("Delete filter "), "without marks it is the selected one");
}

#[test]
fn copying_writing_and_leaving_are_effects() {
    let mut stage = stage();
    stage.press("2 y");
    let id = stage.app.subscribers.list.selected.clone().unwrap();
    assert_eq!(stage.effects.pop(), Some(Effect::Copy(id)));
    stage.press("3");
    stage.wait(1_000);
    stage.press("up m up m W");
    let Some(Effect::Write { lines, .. }) = stage.effects.pop() else { panic!("nothing written") };
    assert_eq!(lines.len(), 2, "the marked rows");
    stage.press("c");
    assert_eq!(stage.effects.pop(), Some(Effect::Copy("evs tail".into())));
    stage.press("ctrl-z q");
    assert_eq!(stage.effects, [Effect::Suspend, Effect::Quit]);
    stage.press("w \"x\" ctrl-c");
    assert_eq!(stage.effects.pop(), Some(Effect::Quit), "ctrl-c leaves from anywhere");
}

#[test]
fn columns_are_chosen_by_a_command() {
    let mut stage = stage();
    stage.press("2 : \"columns subscriber,la\" tab");
    assert_eq!(stage.app.prompt.as_ref().unwrap().input.text(), "columns subscriber,lag");
    stage.press("enter");
    assert_eq!(stage.app.settings.columns.len(), 2);
    stage.press(": \"columns lag\" enter");
    assert!(stage.app.toast.as_ref().unwrap().bad && stage.app.settings.columns.len() == 2);
    stage.press(": \"columns all\" enter");
    assert_eq!(stage.app.settings.columns.len(), 12);
}

#[test]
fn an_alert_rings_and_notifies_if_asked_to() {
    let rule = Rule { measure: Measure::DeadLetters, above: 0.0, for_s: 0 };
    let settings = Settings { bell: true, notify: true, alerts: vec![rule], ..Settings::default() };
    let mut stage = Stage::new(settings, (120, 40));
    let stats = Stats { dead_letters_total: 3, ..Stats::default() };
    stage.send(Message::Feed(FeedMessage::Stats(Box::new(stats.clone()))));
    stage.send(Message::Feed(FeedMessage::Stats(Box::new(stats))));
    let told = "localhost:8001: 3 dead letters".to_owned();
    assert_eq!(stage.effects, [Effect::Bell, Effect::Notify(told)], "once");
}

#[test]
fn every_pane_of_the_cluster_has_a_cursor() {
    let mut stage = stage();
    let copied = |stage: &mut Stage, keys: &str| {
        stage.press(keys);
        match stage.effects.pop() {
            Some(Effect::Copy(text)) => text,
            other => panic!("{keys}: {other:?}"),
        }
    };
    assert_eq!(copied(&mut stage, "7 down y"), stage.app.instance_rows()[1].id);
    assert_eq!(copied(&mut stage, "tab down down y"), "2");
    assert_eq!(copied(&mut stage, "tab G y"), stage.app.shard_rows().last().unwrap().epoch);
}

#[test]
fn the_mouse_is_a_keyboard_with_coordinates() {
    let mut stage = stage();
    stage.press("2");
    stage.wait(3_000);
    stage.send(Message::Mouse(Target::Row(7), Pointer::Click));
    let rows: Vec<String> = stage.app.subscriber_rows().iter().map(|s| s.id.clone()).collect();
    assert_eq!(stage.app.subscribers.list.selected.as_ref(), Some(&rows[7]));
    stage.send(Message::Mouse(Target::SortBy(Sort::Id), Pointer::Click));
    assert_eq!((stage.app.subscribers.sort, stage.app.subscribers.ascending), (Sort::Id, true));
    stage.send(Message::Mouse(Target::Row(0), Pointer::DoubleClick));
    assert!(matches!(stage.app.screen(), Screen::Subscriber(_)));
}

#[test]
fn drops_are_counted_and_old_answers_ignored() {
    let mut stage = stage();
    stage.press("3");
    let all = EventsQuery::default();
    let other = EventsQuery { subscriber: Some("x".into()), where_: None };
    stage.send(Message::Feed(FeedMessage::Dropped(all, 12, DroppedBy::Screen)));
    stage.send(Message::Feed(FeedMessage::Dropped(other.clone(), 99, DroppedBy::Server)));
    assert_eq!((stage.app.live.events.dropped_here, stage.app.live.events.dropped_by_server), (12, 0));
    let before = stage.app.live.events.arrived;
    stage.send(Message::Feed(FeedMessage::Events(other, vec![Incoming::default()])));
    assert_eq!(stage.app.live.events.arrived, before);
}

#[test]
fn a_screen_too_small_ignores_keys_but_quitting() {
    let mut stage = Stage::running(Settings::default(), (30, 8), 1);
    stage.press("2 d x");
    assert_eq!(*stage.app.screen(), Screen::Overview);
    stage.press("q");
    assert_eq!(stage.effects, [Effect::Quit]);
}

#[test]
fn dead_letters_are_redriven_by_marks() {
    let mut stage = stage();
    stage.press("6 m down m r");
    let Some(Overlay::Confirm(confirm)) = &stage.app.overlay else { panic!("no question") };
    assert!(confirm.question.contains('2'), "{}", confirm.question);
    let before: Vec<DeadLetter> = stage.app.live.dead_letters.items.clone();
    stage.press("y");
    stage.wait(1_000);
    assert_eq!(stage.app.live.dead_letters.items.len(), before.len() - 2);
    assert!(stage.app.dead_letters.marks.is_empty());
}

#[test]
fn headers_are_below_the_event_and_found_in_it() {
    let mut stage = stage();
    stage.press("3");
    let header = |name: &str| EventHeader { name: name.into(), ..EventHeader::default() };
    let headers = vec![
        EventHeader { value: Some("application/json".into()), ..header("content-type") },
        EventHeader { value_base64: Some("/gA=".into()), ..header("signature") },
        EventHeader { value: Some("a\tb\u{1b}[2J".into()), cut_from_bytes: Some(2048), ..header("note") },
        header("empty"),
    ];
    let headers = Some(Arc::new(Headers { headers, left_out: 3 }));
    let event = Incoming { json: "{\"n\":1}".into(), headers, ..Incoming::default() };
    let text: Vec<String> = detail_lines(&event, event.headers.as_deref()).iter().map(json::text).collect();
    let wanted = [
        "{",
        "  \"n\": 1",
        "}",
        "",
        "headers of its record",
        "content-type: application/json",
        "signature: base64 /gA=",
        "note: a\\tb\\u{1b}[2J (cut from 2 KiB)",
        "empty: (no value)",
        "and 3 more",
    ];
    assert_eq!(text, wanted);
    assert_eq!(detail_lines(&event, None).len(), 3, "without any nothing is said");
    let query = stage.app.wants().events.unwrap();
    stage.send(Message::Feed(FeedMessage::Events(query, vec![event])));
    stage.press("end enter / \"signature\" enter n");
    assert_eq!(stage.app.events.detail_scroll, 6, "the line of the header");
}

#[test]
fn headers_of_a_subscribers_event_are_looked_up() {
    let mut stage = stage();
    stage.press(": \"events fraud-desk\" enter");
    stage.wait(3_000);
    let shown = |stage: &Stage| {
        let row = stage.app.selected_event().unwrap();
        let headers = stage.app.headers_of(&row.event).map(|headers| headers.headers.len());
        (row.event.headers.is_some(), headers)
    };
    assert_eq!(shown(&stage), (false, None), "what passes by is not asked for");
    stage.press("up enter");
    assert_eq!(shown(&stage), (false, Some(2)));
    // The next one is another question, and one that cannot be answered is not asked again.
    stage.online = false;
    stage.press("up");
    assert_eq!(shown(&stage), (false, None));
    let asks = |stage: &Stage| stage.effects.iter().filter(|it| matches!(it, Effect::Ask(_, Ask::Event(_)))).count();
    stage.press("up down up");
    assert_eq!(asks(&stage), 1, "one question at a time");
    let Some(Effect::Ask(number, _)) = stage.effects.last().cloned() else { panic!("a question") };
    stage.send(Message::Answer(number, Ok(Answer::Event(None))));
    assert_eq!(asks(&stage), 2, "then that of the row which is read now");
    assert!(stage.app.toast.is_none(), "nobody asked for what is not there");
}
