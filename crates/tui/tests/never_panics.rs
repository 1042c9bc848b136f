//! Any keys, clicks, sizes and data in any order: nothing panics, every cursor is on a row, every picture is drawn.

use std::sync::Arc;

use evs_api::events::EventHeader;
use evs_tui::app::{App, Screen, Settings};
use evs_tui::demo::stage::Stage;
use evs_tui::keymap::{BINDINGS, Chord};
use evs_tui::message::{
    Connection, DroppedBy, Failure, FailureKind, FeedMessage, Headers, Incoming, Message, Pointer, Target, Topic,
};
use evs_tui::theme::THEMES;
use evs_tui::view::view;
use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

#[derive(Clone, Debug)]
enum Step {
    Key(Chord),
    Paste(String),
    Size(u16, u16),
    Wait(u16),
    Mouse(u16, u16, Pointer),
    Connection(Connection),
    Failed(Topic),
    Event(String),
    Theme(usize, bool),
}

fn key() -> impl Strategy<Value = Chord> {
    // The keys of the table, weighted as they are, and some text.
    let all: Vec<&str> = BINDINGS
        .iter()
        .filter(|b| !["interrupt", "suspend"].contains(&b.name))
        .flat_map(|b| b.keys.iter().copied())
        .collect();
    prop_oneof![
        6 => proptest::sample::select(all).prop_map(|k| Chord::parse(k).unwrap()),
        1 => any::<char>().prop_map(|c| Chord::parse(&c.to_string()).unwrap()),
    ]
}

fn pointer() -> impl Strategy<Value = Pointer> {
    prop_oneof![Just(Pointer::Click), Just(Pointer::DoubleClick), (-9..9).prop_map(Pointer::Scroll)]
}

fn connection() -> impl Strategy<Value = Connection> {
    prop_oneof![
        Just(Connection::Connecting),
        Just(Connection::Connected),
        Just(Connection::Retrying { attempt: 9, at_ms: i64::MAX, why: "\u{1b}[2J gone".into() }),
        Just(Connection::Refused { at_ms: 0, why: String::new() }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let topics = vec![Topic::Subscribers, Topic::Detail, Topic::Filters, Topic::DeadLetters, Topic::Log, Topic::Events];
    prop_oneof![
        30 => key().prop_map(Step::Key),
        1 => ".{0,40}".prop_map(Step::Paste),
        4 => (1..200_u16, 1..60_u16).prop_map(|(w, h)| Step::Size(w, h)),
        6 => (0..3_000_u16).prop_map(Step::Wait),
        4 => (0..200_u16, 0..60_u16, pointer()).prop_map(|(x, y, p)| Step::Mouse(x, y, p)),
        1 => connection().prop_map(Step::Connection),
        1 => proptest::sample::select(topics).prop_map(Step::Failed),
        2 => ".{0,60}".prop_map(Step::Event),
        1 => (0..THEMES.len(), any::<bool>()).prop_map(|(t, a)| Step::Theme(t, a)),
    ]
}

fn draw(stage: &Stage) -> evs_tui::view::Hits {
    let (width, height) = stage.app.size;
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let mut hits = None;
    terminal.draw(|frame| hits = Some(view(&stage.app, frame))).unwrap();
    hits.unwrap_or_default()
}

/// A cursor that is seen is on a row that is there, if there are rows at all.
fn selection_is_valid(app: &App) -> bool {
    fn on<K: PartialEq>(selected: Option<&K>, rows: &[K]) -> bool {
        match selected {
            Some(key) => rows.contains(key),
            None => rows.is_empty(),
        }
    }
    match app.screen() {
        Screen::Overview => true,
        Screen::Subscribers => {
            let rows: Vec<String> = app.subscriber_rows().iter().map(|s| s.id.clone()).collect();
            on(app.subscribers.list.selected.as_ref(), &rows)
        }
        Screen::Subscriber(_) => {
            let rows: Vec<u32> = app.own_filter_rows().iter().map(|f| f.id).collect();
            on(app.subscribers.own_filters.selected.as_ref(), &rows)
        }
        Screen::Events if app.events.held.is_none() => true,
        Screen::Events => {
            let rows: Vec<u64> = app.event_rows().iter().map(|r| r.n).collect();
            on(app.events.list.selected.as_ref(), &rows)
        }
        Screen::Filters => {
            let rows: Vec<u32> = app.filter_rows().iter().map(|f| f.id).collect();
            on(app.filters.list.selected.as_ref(), &rows)
        }
        Screen::Log => {
            let rows: Vec<u64> = app.log_rows().iter().map(|e| e.id).collect();
            on(app.log.list.selected.as_ref(), &rows)
        }
        Screen::DeadLetters => {
            let rows: Vec<String> = app.dead_letter_rows().iter().map(|d| d.id.clone()).collect();
            on(app.dead_letters.list.selected.as_ref(), &rows)
        }
        Screen::Cluster => {
            let rows: Vec<String> = app.instance_rows().iter().map(|i| i.id.clone()).collect();
            on(app.cluster.instances.selected.as_ref(), &rows)
        }
    }
}

fn take(stage: &mut Stage, step: Step) {
    match step {
        Step::Key(chord) => stage.send(Message::Key(chord)),
        Step::Paste(text) => stage.send(Message::Paste(text)),
        Step::Size(width, height) => stage.send(Message::Resize(width, height)),
        Step::Wait(ms) => stage.wait(ms.into()),
        Step::Mouse(x, y, pointer) => {
            let target = draw(stage).at(x, y).cloned().unwrap_or(Target::Body);
            stage.send(Message::Mouse(target, pointer));
        }
        Step::Connection(connection) => stage.send(Message::Feed(FeedMessage::Connection(connection))),
        Step::Failed(topic) => {
            let failure = Failure { kind: FailureKind::NotFound, why: "no such thing".into(), problem: None };
            stage.send(Message::Feed(FeedMessage::Failed(topic, failure)));
        }
        Step::Event(json) => {
            let query = stage.app.wants().events.unwrap_or_default();
            let header = EventHeader { name: json.clone(), value: Some(json.clone()), ..EventHeader::default() };
            let headers = Some(Arc::new(Headers { headers: vec![header], left_out: 1 }));
            let event = Incoming { json: json.into(), headers, ..Incoming::default() };
            stage.send(Message::Feed(FeedMessage::Events(query.clone(), vec![event])));
            stage.send(Message::Feed(FeedMessage::Dropped(query, 1, DroppedBy::Server)));
        }
        Step::Theme(theme, ascii) => {
            stage.app.settings.theme = THEMES[theme];
            stage.app.settings.ascii = ascii;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_steps(width in 1..200_u16, height in 1..60_u16, steps in prop::collection::vec(step(), 1..60)) {
        let mut stage = Stage::running(Settings::default(), (width, height), 2);
        for step in steps {
            take(&mut stage, step);
            draw(&stage);
            prop_assert!(selection_is_valid(&stage.app), "{:?}", stage.app.screen());
        }
    }
}

/// Each view and overlay at each size from 1x1 to 200x60, in steps that hit every layout.
#[test]
fn every_size() {
    let places = [
        "1",
        "2",
        "2 enter",
        "3",
        "3 up enter",
        "4",
        "4 a \"x\"",
        "4 d",
        "5",
        "6",
        "6 enter",
        "7",
        "?",
        "2 o",
        "3 w \"a >\"",
        ": \"t\"",
        "3 x \"billing\" enter",
        "z",
    ];
    for keys in places {
        let mut stage = Stage::running(Settings::default(), (120, 40), 3);
        stage.press(keys);
        for width in (1..=200_u16).step_by(23).chain([39, 40, 41, 75, 76, 77, 79, 80, 99, 100, 119, 120]) {
            for height in (1..=60_u16).step_by(11).chain([9, 10, 13, 14, 16, 18, 24]) {
                stage.app.size = (width, height);
                draw(&stage);
            }
        }
    }
}
