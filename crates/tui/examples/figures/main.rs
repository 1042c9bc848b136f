//! The dashboard's figures, measured on the real binary in a pseudo terminal, against a real embedded server that
//! `evs` fills: `cargo build --release && cargo run --release -p evs-tui --example figures`. With `-- stub` against a
//! stub of the server that answers at once and costs nothing, which shows the screen's own part.

mod screen;
mod server;
mod stub;

use std::time::{Duration, Instant};

use screen::Screen;
use server::Server;
use stub::Stub;

fn main() -> anyhow::Result<()> {
    let is_stub = std::env::args().nth(1).is_some_and(|a| a == "stub");
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("{profile} build, {}; load average {}", if is_stub { "stub" } else { "embedded server" }, load());
    first_picture()?;
    if is_stub {
        let at = |stub: &Stub| vec!["--server".to_owned(), stub.url()];
        idle(&at(&Stub::start(0, 1_000)?))?;
        for per_s in [5_000, 50_000] {
            flood(&at(&Stub::start(per_s, 1_000)?), per_s)?;
        }
        subscribers(&at(&Stub::start(0, 100_000)?), 100_000)?;
    } else {
        let server = Server::start()?;
        idle(&server.flags())?;
        let traffic = server.produce(5_000)?;
        flood(&server.flags(), 5_000)?;
        drop(traffic);
        let took = server.import(SUBSCRIBERS)?;
        println!("evs filter import: {SUBSCRIBERS} subscribers in {:.1} s", took.as_secs_f64());
        let _traffic = server.produce(100)?;
        subscribers(&server.flags(), SUBSCRIBERS)?;
    }
    println!("load average {}", load());
    Ok(())
}

const SUBSCRIBERS: usize = 100_000;

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// From the start of the process to the first picture, with nobody at the server's address.
fn first_picture() -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..15 {
        let started = Instant::now();
        let mut screen = Screen::start(&["--server", "http://127.0.0.1:9"])?;
        screen.until(|s| s.contains("1 Overview"))?;
        times.push(started.elapsed());
        screen.until(|s| s.contains("retrying in"))?;
        screen.quit()?;
    }
    times.sort();
    println!(
        "first picture, server unreachable: {} ms median, {} ms worst of {} (bound 100 ms)",
        times[times.len() / 2].as_millis(),
        times[times.len() - 1].as_millis(),
        times.len()
    );
    Ok(())
}

/// Connected, a report a second, nobody at the keyboard.
fn idle(server: &[String]) -> anyhow::Result<()> {
    let mut screen = Screen::start(server)?;
    screen.until(|s| s.contains("connected"))?;
    screen.rest(Duration::from_secs(2));
    let seconds = 20;
    let before = screen.cpu()?;
    screen.rest(Duration::from_secs(seconds));
    let used = screen.cpu()? - before;
    println!(
        "idle on the overview: {:.2} % of a core over {seconds} s, {} KiB resident (bound 1 %)",
        used.as_secs_f64() * 100.0 / seconds as f64,
        screen.memory_kib()?
    );
    screen.quit()
}

/// The events view under a flood: how old the newest shown event is, memory, CPU, drops.
fn flood(server: &[String], per_s: u64) -> anyhow::Result<()> {
    let mut screen = Screen::start(server)?;
    screen.until(|s| s.contains("connected"))?;
    screen.press("3")?;
    screen.until(|s| s.contains("following") && newest_age_ms(s).is_some())?;
    screen.rest(Duration::from_secs(3));
    let (memory, cpu, start) = (screen.memory_kib()?, screen.cpu()?, Instant::now());
    let mut ages = Vec::new();
    while start.elapsed() < Duration::from_secs(20) {
        screen.changed()?;
        if let Some(age) = newest_age_ms(&screen.text()) {
            ages.push(age);
        }
    }
    let (after, used) = (screen.memory_kib()?, screen.cpu()? - cpu);
    ages.sort_unstable();
    let at = |share: f64| ages.get(((ages.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0);
    let dropped = screen.text().split(" left out").next().and_then(|s| s.rsplit(' ').next().map(str::to_owned));
    let dropped = dropped.filter(|_| screen.text().contains("left out")).unwrap_or_else(|| "0".into());
    let rate = screen.text().split(" in ").nth(1).and_then(|s| s.split(' ').next()).unwrap_or("?").to_owned();
    println!(
        "{per_s} events/s in: newest shown is {} ms old at the median, {} ms at p99, {} ms worst of {} pictures; \
         {memory} -> {after} KiB resident in 20 s; {:.0} % of a core; header says in {rate}; left out {dropped} \
         (bound 200 ms)",
        at(0.5),
        at(0.99),
        at(1.0),
        ages.len(),
        used.as_secs_f64() * 100.0 / start.elapsed().as_secs_f64(),
    );
    screen.quit()
}

/// The clock time in the last row of the events table, against now.
fn newest_age_ms(text: &str) -> Option<i64> {
    let clock_of = |line: &str| -> Option<Vec<i64>> {
        let clock = line.trim_start_matches(['│', ' ', '>']).get(..12)?.split([':', '.']);
        let clock: Vec<i64> = clock.map(str::parse).collect::<Result<_, _>>().ok()?;
        (clock.len() == 4).then_some(clock)
    };
    let clock = text.lines().rev().find_map(clock_of)?;
    let now = evs_tui::clock::now_ms().rem_euclid(86_400_000);
    Some(now - (((clock[0] * 60 + clock[1]) * 60 + clock[2]) * 1000 + clock[3]))
}

/// A table of many subscribers: pages on demand, the cursor at once.
fn subscribers(server: &[String], n: usize) -> anyhow::Result<()> {
    let mut screen = Screen::start(server)?;
    screen.until(|s| s.contains("connected"))?;
    // A server under traffic may have a subscriber more.
    let first = format!("1-200 of {}", &evs_tui::format::count(n as u64)[..3]);
    let started = Instant::now();
    screen.press("2")?;
    screen.until(|s| s.contains(&first))?;
    let opened = started.elapsed();
    let mut turns = Vec::new();
    for page in 1..30 {
        let started = Instant::now();
        screen.press(">")?;
        let first = page * 200 + 1;
        let title = format!("{}-", evs_tui::format::count(first));
        screen.until(|s| s.contains(&title) && !s.contains("loading"))?;
        turns.push(started.elapsed());
    }
    turns.sort();
    let mut moves = Vec::new();
    for _ in 0..60 {
        let before = cursor_row(&screen.text());
        let started = Instant::now();
        screen.press("j")?;
        screen.until(|s| cursor_row(s) != before)?;
        moves.push(started.elapsed());
        if moves.len() % 15 == 0 {
            screen.press("g")?;
            screen.rest(Duration::from_millis(100));
        }
    }
    moves.sort();
    println!(
        "100,000 subscribers: opened in {} ms, a page turned in {} ms median, {} ms worst; a key moves the cursor in {} ms \
         median, {} ms worst; {} KiB resident",
        opened.as_millis(),
        turns[turns.len() / 2].as_millis(),
        turns[turns.len() - 1].as_millis(),
        moves[moves.len() / 2].as_millis(),
        moves[moves.len() - 1].as_millis(),
        screen.memory_kib()?
    );
    screen.quit()
}

fn cursor_row(text: &str) -> Option<String> {
    text.lines().find(|line| line.contains("│>")).map(|line| line.split_whitespace().nth(3).unwrap_or("").to_owned())
}
