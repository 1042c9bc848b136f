//! The loop: input first, then signals, then a draw that is due, then data.
//!
//! A key is answered at once; data is drawn at most fifteen times a second and only when something changed. While a draw
//! is due events wait in the mailbox, which is emptied just before it: however fast they come, the loop wakes once for
//! each picture.

use std::time::Duration;

use futures_util::StreamExt;
use ratatui::crossterm::event::{Event, EventStream, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior};

use crate::app::App;
use crate::clock;
use crate::feed::Feed;
use crate::keymap::Chord;
use crate::message::{DroppedBy, Effect, FeedMessage, Message, Pointer, Target};
use crate::pace::Pace;
use crate::terminal::Guard;
use crate::view::{Hits, view};

/// Ages and countdowns move on.
const CLOCK: Duration = Duration::from_secs(1);
const WHEEL_ROWS: i32 = 3;
const DOUBLE_CLICK: Duration = Duration::from_millis(400);
/// Messages taken in one turn.
const BATCH: usize = 64;

/// Why the loop ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Quit,
    /// A signal, by its number.
    Signal(i32),
    SwitchContext(String),
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    hangup: Signal,
    interrupt: Signal,
    continued: Signal,
}

/// # Errors
/// If the terminal fails.
pub async fn run(app: &mut App, guard: &mut Guard, feed: &mut Feed) -> std::io::Result<End> {
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        hangup: signal(SignalKind::hangup())?,
        interrupt: signal(SignalKind::interrupt())?,
        continued: signal(SignalKind::from_raw(CONTINUED))?,
    };
    let mut input = EventStream::new();
    let mut clock_ticks = tokio::time::interval(CLOCK);
    clock_ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let pace = Pace::new(app.settings.reduced_motion, Instant::now());
    let mut screen = Screen { hits: Hits::default(), pace, last_click: None, scrolled: None };
    screen.draw(app, guard)?;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let effects = tokio::select! {
            biased;
            event = input.next() => match event {
                Some(Ok(event)) => {
                    screen.pace.input();
                    screen.input(app, event)
                }
                // The terminal is gone.
                Some(Err(error)) => return Err(error),
                None => return Ok(End::Signal(SignalKind::hangup().as_raw_value())),
            },
            _ = signals.terminate.recv() => return Ok(End::Signal(SignalKind::terminate().as_raw_value())),
            _ = signals.hangup.recv() => return Ok(End::Signal(SignalKind::hangup().as_raw_value())),
            _ = signals.interrupt.recv() => return Ok(End::Signal(SignalKind::interrupt().as_raw_value())),
            _ = signals.continued.recv() => {
                // Stopped from outside: the shell had the terminal meanwhile.
                guard.enter()?;
                screen.pace.lost();
                Vec::new()
            }
            () = due(screen.pace.due()) => {
                let mut effects = screen.scroll(app);
                effects.extend(take_events(app, feed));
                screen.draw(app, guard)?;
                effects
            }
            n = feed.messages.recv_many(&mut batch, BATCH) => {
                if n == 0 {
                    return Ok(End::Quit);
                }
                screen.pace.data();
                app.update(Message::Tick(clock::now_ms()));
                batch.drain(..).flat_map(|message| {
                    record(app, feed, &message);
                    app.update(message)
                }).collect()
            }
            // While a draw is due it takes the events; waiting for each would wake the loop thousands of times.
            () = feed.mailbox.arrived(), if screen.pace.due().is_none() => {
                screen.pace.data();
                Vec::new()
            }
            _ = clock_ticks.tick() => {
                app.update(Message::Tick(clock::now_ms()));
                if feed.recorder.as_mut().is_some_and(|recorder| recorder.flush().is_err()) {
                    stop_recording(app, feed);
                }
                screen.pace.data();
                Vec::new()
            }
        };
        for effect in effects {
            if let Some(end) = perform(effect, app, guard, feed, &mut screen)? {
                return Ok(end);
            }
        }
        feed.want(app.wants());
    }
}

/// SIGCONT on Linux; tokio has no name for it.
const CONTINUED: i32 = rustix::process::Signal::CONT.as_raw();

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn record(app: &mut App, feed: &mut Feed, message: &Message) {
    if let (Message::Feed(message), Some(recorder)) = (message, &mut feed.recorder)
        && recorder.put(message, clock::now_ms()).is_err()
    {
        stop_recording(app, feed);
    }
}

fn stop_recording(app: &mut App, feed: &mut Feed) {
    feed.recorder = None;
    app.complain("the recording ended: its file cannot be written");
}

fn take_events(app: &mut App, feed: &mut Feed) -> Vec<Effect> {
    app.update(Message::Tick(clock::now_ms()));
    let Some(taken) = feed.mailbox.take() else { return Vec::new() };
    let mut effects = Vec::new();
    for (dropped, by) in [(taken.dropped, DroppedBy::Screen), (taken.dropped_by_server, DroppedBy::Server)] {
        if dropped > 0 {
            effects.extend(app.update(Message::Feed(FeedMessage::Dropped(taken.query.clone(), dropped, by))));
        }
    }
    let events = Message::Feed(FeedMessage::Events(taken.query, taken.events));
    record(app, feed, &events);
    effects.extend(app.update(events));
    effects
}

/// When to draw, and what was drawn.
#[derive(Debug)]
struct Screen {
    hits: Hits,
    pace: Pace,
    last_click: Option<(Instant, Target)>,
    /// Where the wheel turned since the last picture, and by how many rows.
    scrolled: Option<(Target, i32)>,
}

impl Screen {
    fn draw(&mut self, app: &App, guard: &mut Guard) -> std::io::Result<()> {
        let mut hits = Hits::default();
        guard.draw(|frame| hits = view(app, frame))?;
        self.hits = hits;
        self.pace.drawn(Instant::now());
        Ok(())
    }

    fn input(&mut self, app: &mut App, event: Event) -> Vec<Effect> {
        app.update(Message::Tick(clock::now_ms()));
        match event {
            Event::Key(key) if key.kind == KeyEventKind::Release => Vec::new(),
            Event::Key(key) => {
                let mut effects = self.scroll(app);
                effects.extend(app.update(Message::Key(Chord::from(key))));
                effects
            }
            Event::Paste(text) => app.update(Message::Paste(text)),
            Event::Resize(width, height) => app.update(Message::Resize(width, height)),
            Event::Mouse(mouse) => self.mouse(app, mouse),
            Event::FocusGained | Event::FocusLost => Vec::new(),
        }
    }

    fn mouse(&mut self, app: &mut App, mouse: MouseEvent) -> Vec<Effect> {
        let pane = self.hits.pane_at(mouse.column, mouse.row).cloned();
        match mouse.kind {
            // A wheel sends bursts: they are added up until the next picture.
            MouseEventKind::ScrollUp | MouseEventKind::ScrollDown => {
                let rows = if mouse.kind == MouseEventKind::ScrollUp { -WHEEL_ROWS } else { WHEEL_ROWS };
                let target = pane.unwrap_or(Target::Body);
                match &mut self.scrolled {
                    Some((_, sum)) => *sum += rows,
                    None => self.scrolled = Some((target, rows)),
                }
                Vec::new()
            }
            MouseEventKind::Down(MouseButton::Left) => {
                let Some(target) = self.hits.at(mouse.column, mouse.row).cloned() else { return Vec::new() };
                let mut effects = Vec::new();
                if let (Some(pane), false) = (pane, matches!(target, Target::Pane(_))) {
                    effects.extend(app.update(Message::Mouse(pane, Pointer::Click)));
                }
                let now = Instant::now();
                let again = self.last_click.as_ref().is_some_and(|(at, t)| now - *at < DOUBLE_CLICK && *t == target);
                self.last_click = Some((now, target.clone()));
                let pointer = if again { Pointer::DoubleClick } else { Pointer::Click };
                effects.extend(app.update(Message::Mouse(target, pointer)));
                effects
            }
            _ => Vec::new(),
        }
    }

    /// What the wheel added up.
    fn scroll(&mut self, app: &mut App) -> Vec<Effect> {
        match self.scrolled.take() {
            Some((target, rows)) if rows != 0 => app.update(Message::Mouse(target, Pointer::Scroll(rows))),
            _ => Vec::new(),
        }
    }
}

fn perform(
    effect: Effect,
    app: &mut App,
    guard: &mut Guard,
    feed: &Feed,
    screen: &mut Screen,
) -> std::io::Result<Option<End>> {
    match effect {
        Effect::Quit => return Ok(Some(End::Quit)),
        Effect::SwitchContext(name) => return Ok(Some(End::SwitchContext(name))),
        Effect::Suspend => {
            guard.suspend()?;
            screen.pace.lost();
        }
        Effect::Redraw => {
            guard.forget();
            screen.pace.lost();
        }
        Effect::Copy(text) => {
            guard.copy(&text)?;
            crate::clipboard::copy(&text);
        }
        Effect::Bell => guard.bell()?,
        Effect::Notify(text) => guard.notify(&text)?,
        Effect::SetMouse(on) => guard.set_mouse(on)?,
        Effect::Write { name, lines } => {
            let told = write(&name, &lines);
            app.update(Message::Told(told));
        }
        Effect::Ask(number, ask) => {
            if let Err(why) = feed.ask(number, ask) {
                let failure = crate::message::Failure { why, ..Default::default() };
                app.update(Message::Answer(number, Err(failure)));
            }
        }
    }
    Ok(None)
}

/// Into the working folder, under a name that is not taken.
fn write(name: &str, lines: &[String]) -> Result<String, String> {
    use std::io::Write as _;
    for n in 1..10_000 {
        let path = format!("{name}-{n:03}.ndjson");
        match std::fs::File::create_new(&path) {
            Ok(mut file) => {
                let text = lines.join("\n") + "\n";
                file.write_all(text.as_bytes()).map_err(|error| format!("cannot write {path}: {error}"))?;
                return Ok(format!("{} rows written to {path}", lines.len()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot write {path}: {error}")),
        }
    }
    Err(format!("there are too many {name} files here"))
}
