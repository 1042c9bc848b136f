//! The terminal: taken over when the dashboard starts, given back whatever happens.

use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste};
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute, queue};

/// Whether it is ours now, so that giving it back twice (panic hook and drop) does no harm.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Gives the terminal back when it is dropped.
#[derive(Debug)]
pub struct Guard {
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
    mouse: bool,
    is_stale: bool,
}

impl Guard {
    /// # Errors
    /// If the terminal cannot be set up.
    pub fn take(mouse: bool) -> io::Result<Self> {
        // The theme decides on colour; crossterm's own answer to NO_COLOR resets bold and reverse too.
        ratatui::crossterm::style::force_color_output(true);
        install_panic_hook();
        let mut guard = Self { terminal: Terminal::new(CrosstermBackend::new(io::stdout()))?, mouse, is_stale: true };
        guard.enter()?;
        Ok(guard)
    }

    /// Takes the terminal (again), and forgets what was on it.
    ///
    /// # Errors
    /// If the terminal does not take it.
    pub fn enter(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
        self.forget();
        self.set_mouse(self.mouse)
    }

    /// What is on the terminal is not what was drawn: the next picture is drawn whole.
    pub fn forget(&mut self) {
        self.is_stale = true;
    }

    /// # Errors
    /// If the terminal does not take it.
    pub fn set_mouse(&mut self, on: bool) -> io::Result<()> {
        self.mouse = on;
        if !on {
            return execute!(io::stdout(), DisableMouseCapture);
        }
        // Buttons and wheel only: reports of every movement would wake an idle dashboard.
        let mut out = io::stdout();
        out.write_all(b"\x1b[?1000h\x1b[?1006h")?;
        out.flush()
    }

    /// Gives the terminal back and stops this process group; comes back when it is continued.
    ///
    /// # Errors
    /// If the terminal cannot be taken again.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        // The whole group, as the shell would: a wrapper such as `cargo run` must stop too. In a group that nobody can
        // continue the kernel ignores it, and we are back at once.
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::TSTP);
        self.enter()
    }

    /// One picture, which terminals that know synchronized output show at once and not line by line.
    ///
    /// # Errors
    /// If the terminal does not take it.
    pub fn draw(&mut self, picture: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        queue!(io::stdout(), BeginSynchronizedUpdate)?;
        if std::mem::take(&mut self.is_stale) {
            // `Terminal::clear` would first ask the terminal where its cursor is and wait for the answer, which input
            // may swallow and which some terminals never give.
            let size = self.terminal.size()?;
            self.terminal.resize(ratatui::layout::Rect::new(0, 0, size.width, size.height))?;
        }
        self.terminal.draw(picture)?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }

    /// The text into the clipboard of the terminal, however far away it is (OSC 52; tmux passes it on if
    /// `set-clipboard` is on).
    ///
    /// # Errors
    /// If the terminal does not take it.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let mut out = io::stdout();
        write!(out, "\x1b]52;c;{encoded}\x07")?;
        out.flush()
    }

    /// A notification of the desktop, by terminals that know OSC 9; others ignore it.
    ///
    /// # Errors
    /// If the terminal does not take it.
    pub fn notify(&mut self, text: &str) -> io::Result<()> {
        let clean: String = text.chars().filter(|c| !c.is_control()).collect();
        let mut out = io::stdout();
        write!(out, "\x1b]9;evs: {clean}\x07")?;
        out.flush()
    }

    /// # Errors
    /// If the terminal does not take it.
    pub fn bell(&mut self) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(b"\x07")?;
        out.flush()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        give_back();
    }
}

/// Everything undone, as far as it was done; errors are of no use here.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(
            io::stdout(),
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            cursor::Show
        );
        let _ = disable_raw_mode();
    }
}

/// A panic is printed on the terminal as it was before, not into the dashboard.
fn install_panic_hook() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return;
    }
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        give_back();
        before(panic);
    }));
}
