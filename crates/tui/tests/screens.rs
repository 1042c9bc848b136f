//! Every screen at three sizes in every theme, text and styles, against files in `tests/screens`.
//!
//! A file holds the text once and, for each theme, a legend of styles and a map of where they are: `a12b3` is twelve
//! cells of style a and three of b. `EVS_TUI_BLESS=1 cargo test -p evs-tui --test screens` writes them anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use evs_tui::app::Settings;
use evs_tui::demo::stage::Stage;
use evs_tui::message::{Connection, FeedMessage, Message};
use evs_tui::theme::{THEMES, Theme};
use evs_tui::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

const SIZES: [(u16, u16); 3] = [(120, 40), (80, 24), (40, 12)];

/// A name, and the keys that lead there.
const SCREENS: &[(&str, &str)] = &[
    ("overview", ""),
    ("overview-expanded", "tab z"),
    ("subscribers", "2 down down"),
    ("subscribers-found", "2 / \"user_1\" enter s"),
    ("subscriber", ": \"sub fraud-desk\" enter"),
    ("events", "3"),
    ("events-detail", "3 up up m enter"),
    ("events-of-one", ": \"events fraud-desk\" enter"),
    ("filters", "4 down"),
    ("log", "5"),
    ("dead-letters", "6"),
    ("dead-letter", "6 enter"),
    ("cluster", "7"),
    ("help", "?"),
    ("command", "2 o"),
    ("where", "3 w \"amount >= && x\""),
    ("palette", ": \"theme \""),
    ("why", "3 up x \"fraud-desk\" enter"),
    ("form", "4 a \"billing\" tab tab tab tab tab \"amount > 100\" enter"),
    ("confirm", "4 d"),
    ("paused", "space"),
];

#[test]
fn screens() {
    for (name, keys) in SCREENS {
        check(name, |settings, size| {
            let mut stage = Stage::running(settings, size, 6);
            stage.press(keys);
            stage.wait(1_000);
            stage
        });
    }
}

#[test]
fn partitions_that_moved() {
    check("rebalance", |settings, size| {
        let mut stage = Stage::running(settings, size, 27);
        stage.press("5");
        stage
    });
    check("rebalance-cluster", |settings, size| {
        let mut stage = Stage::running(settings, size, 27);
        stage.press("7");
        stage
    });
}

#[test]
fn unreachable_from_the_start() {
    check("unreachable", |settings, size| {
        let mut stage = Stage::new(settings, size);
        stage.online = false;
        let why = "cannot reach http://localhost:8001/: connection refused".to_owned();
        let at_ms = stage.now_ms + 4_000;
        stage.send(Message::Feed(FeedMessage::Connection(Connection::Retrying { attempt: 3, at_ms, why })));
        stage.wait(1_000);
        stage
    });
}

#[test]
fn refused() {
    check("refused", |settings, size| {
        let mut stage = Stage::new(settings, size);
        stage.online = false;
        let why = "the token is expired".to_owned();
        let at_ms = stage.now_ms + 15_000;
        stage.send(Message::Feed(FeedMessage::Connection(Connection::Refused { at_ms, why })));
        stage
    });
}

#[test]
fn lost_keeps_the_last_data_and_greys_it() {
    check("lost", |settings, size| {
        let mut stage = Stage::running(settings, size, 6);
        stage.press("2");
        stage.online = false;
        let at_ms = stage.now_ms + 20_000;
        let why = "connection reset by peer".to_owned();
        stage.send(Message::Feed(FeedMessage::Connection(Connection::Retrying { attempt: 2, at_ms, why })));
        stage.wait(12_000);
        stage
    });
}

#[test]
fn ascii_and_read_only() {
    check("ascii-read-only", |settings, size| {
        let settings = Settings { ascii: true, read_only: true, ..settings };
        let mut stage = Stage::running(settings, size, 6);
        stage.press("7");
        stage
    });
}

fn check(name: &str, make: impl Fn(Settings, (u16, u16)) -> Stage) {
    for size in SIZES {
        let mut stage = make(settings(), size);
        let mut file = String::new();
        let mut maps: BTreeMap<String, &'static str> = BTreeMap::new();
        for theme in THEMES {
            stage.app.settings.theme = theme;
            let buffer = draw(&stage, size);
            if file.is_empty() {
                file = text(&buffer);
            }
            let (legend, map) = styles(&buffer);
            let _ = write!(file, "\n== {}\n{legend}", theme.name());
            match maps.get(&map) {
                Some(other) => {
                    let _ = writeln!(file, "map as {other}");
                }
                None => {
                    file.push_str(&map);
                    maps.insert(map, theme.name());
                }
            }
        }
        compare(&format!("{name}-{}x{}", size.0, size.1), &file);
    }
}

fn settings() -> Settings {
    Settings { target: "demo".into(), theme: Theme::Auto, ..Settings::default() }
}

fn draw(stage: &Stage, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            view(&stage.app, frame);
        })
        .unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let mut out = String::new();
    for row in buffer.content.chunks(width) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// The styles that occur, each with a letter, and the map of letters. Letters are given in the order of the screen, so
/// themes that tell the same things apart have the same map.
fn styles(buffer: &Buffer) -> (String, String) {
    let mut letters: Vec<(Color, Color, Modifier)> = Vec::new();
    let mut map = String::new();
    let mut last = (String::new(), 0);
    let flush = |map: &mut String, last: &(String, usize)| match last {
        (_, 0) => {}
        (row, 1) => {
            let _ = writeln!(map, "{row}");
        }
        (row, n) => {
            let _ = writeln!(map, "{row} *{n}");
        }
    };
    for row in buffer.content.chunks(usize::from(buffer.area.width)) {
        let mut line = String::new();
        let mut cells = row.iter().map(|cell| (cell.fg, cell.bg, cell.modifier)).peekable();
        while let Some(style) = cells.next() {
            let at = letters.iter().position(|s| *s == style).unwrap_or_else(|| {
                letters.push(style);
                letters.len() - 1
            });
            let mut n = 1;
            while cells.next_if_eq(&style).is_some() {
                n += 1;
            }
            let _ = write!(line, "{}{n}", char::from(b'a' + u8::try_from(at).unwrap()));
        }
        if line == last.0 {
            last.1 += 1;
        } else {
            flush(&mut map, &last);
            last = (line, 1);
        }
    }
    flush(&mut map, &last);
    let mut legend = String::new();
    for (at, (fg, bg, modifier)) in letters.iter().enumerate() {
        let letter = char::from(b'a' + u8::try_from(at).unwrap());
        let _ = writeln!(legend, "{letter} {fg} on {bg} {modifier:?}");
    }
    (legend, map)
}

fn compare(name: &str, now: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/screens").join(format!("{name}.txt"));
    if std::env::var_os("EVS_TUI_BLESS").is_some() {
        std::fs::write(&path, now).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if kept != now {
        let line = kept.lines().zip(now.lines()).position(|(a, b)| a != b).unwrap_or(0);
        let (was, is) = (kept.lines().nth(line).unwrap_or(""), now.lines().nth(line).unwrap_or(""));
        panic!("{name} differs from its file at line {}:\n was {was}\n is  {is}\n\n{now}", line + 1);
    }
}
