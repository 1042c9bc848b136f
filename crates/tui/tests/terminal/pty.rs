//! A pseudo terminal with a program in it: what it shows, and whether it left the terminal as it was.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// On a busy machine things take long; a broken one takes for ever.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Pty {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    shown: Arc<Shown>,
    settings: String,
    _home: tempfile::TempDir,
}

struct Shown {
    /// The screen, and whether the program has ended.
    parser: Mutex<(vt100::Parser, bool)>,
    pictures: AtomicUsize,
    changed: Condvar,
}

/// Around each picture: synchronized output.
const BEGIN: &[u8] = b"\x1b[?2026h";
const END: &[u8] = b"\x1b[?2026l";

pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_evs-tui"))
}

fn size((cols, rows): (u16, u16)) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

impl Pty {
    /// The dashboard, with nothing of the place that it runs in.
    pub(crate) fn dashboard(arguments: &[&str], at: (u16, u16)) -> Self {
        Self::start(&binary(), arguments, &[], at)
    }

    pub(crate) fn start(program: &Path, arguments: &[&str], variables: &[(&str, &str)], at: (u16, u16)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let pair = native_pty_system().openpty(size(at)).unwrap();
        let settings = format!("{:?}", pair.master.get_termios());
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.env_clear();
        for name in ["PATH", "LANG", "CARGO_MANIFEST_DIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("TERM", "xterm-256color");
        command.env("HOME", home.path());
        command.cwd(home.path());
        for (name, value) in variables {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let shown = Arc::new(Shown {
            parser: Mutex::new((vt100::Parser::new(at.1, at.0, 0), false)),
            pictures: AtomicUsize::new(0),
            changed: Condvar::new(),
        });
        let mut output = pair.master.try_clone_reader().unwrap();
        let theirs = shown.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 16 * 1024];
            let mut waiting = Vec::new();
            loop {
                let n = output.read(&mut bytes).unwrap_or(0);
                waiting.extend_from_slice(&bytes[..n]);
                // Half a picture is no state of the program: it is looked at when it is whole.
                let begun = waiting.windows(BEGIN.len()).rposition(|w| w == BEGIN);
                let is_half = begun.is_some_and(|at| !waiting[at..].windows(END.len()).any(|w| w == END));
                if is_half && n > 0 {
                    continue;
                }
                let mut parser = theirs.parser.lock().unwrap();
                let pictures = waiting.windows(BEGIN.len()).filter(|w| *w == BEGIN).count();
                theirs.pictures.fetch_add(pictures, Ordering::Relaxed);
                parser.0.process(&std::mem::take(&mut waiting));
                parser.1 = n == 0;
                theirs.changed.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Self { master: pair.master, child, keys, shown, settings, _home: home }
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub(crate) fn resize(&mut self, at: (u16, u16)) {
        self.shown.parser.lock().unwrap().0.screen_mut().set_size(at.1, at.0);
        self.master.resize(size(at)).unwrap();
    }

    pub(crate) fn kill(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.process_id().unwrap()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits until the screen is as it should be.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let end = Instant::now() + DEADLINE;
        let mut parser = self.shown.parser.lock().unwrap();
        loop {
            let text = parser.0.screen().contents();
            if holds(&text) {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !parser.1, "no {what} on the screen:\n{text}");
            parser = self.shown.changed.wait_timeout(parser, left).unwrap().0;
        }
    }

    /// Pictures that it has drawn and that were seen.
    pub(crate) fn pictures(&self) -> usize {
        self.shown.pictures.load(Ordering::Relaxed)
    }

    pub(crate) fn is_alternate(&self) -> bool {
        self.shown.parser.lock().unwrap().0.screen().alternate_screen()
    }

    /// Cells with a colour, and cells in reverse.
    pub(crate) fn count_cells(&self) -> (usize, usize) {
        let parser = self.shown.parser.lock().unwrap();
        let screen = parser.0.screen();
        let (rows, columns) = screen.size();
        let mut counts = (0, 0);
        for cell in (0..rows).flat_map(|row| (0..columns).filter_map(move |column| screen.cell(row, column))) {
            let plain = (cell.fgcolor(), cell.bgcolor()) == (vt100::Color::Default, vt100::Color::Default);
            counts.0 += usize::from(!plain);
            counts.1 += usize::from(cell.inverse());
        }
        counts
    }

    /// Waits for the program's end.
    pub(crate) fn exit_code(&mut self) -> u32 {
        let mut killer = self.child.clone_killer();
        let (done, watch) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if watch.recv_timeout(DEADLINE).is_err() {
                let _ = killer.kill();
            }
        });
        let status = self.child.wait().unwrap();
        let _ = done.send(());
        watchdog.join().unwrap();
        status.exit_code()
    }

    /// The main screen, a cursor, no mouse, no bracketed paste, and the line settings of before.
    pub(crate) fn assert_restored(&self) {
        let end = Instant::now() + DEADLINE;
        let mut parser = self.shown.parser.lock().unwrap();
        // Its last bytes may still be on their way.
        while !parser.1 && parser.0.screen().alternate_screen() {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the alternate screen was not left");
            parser = self.shown.changed.wait_timeout(parser, left).unwrap().0;
        }
        let screen = parser.0.screen();
        assert!(!screen.alternate_screen(), "alternate screen");
        assert!(!screen.hide_cursor(), "hidden cursor");
        assert!(!screen.bracketed_paste(), "bracketed paste");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        assert_eq!(format!("{:?}", self.master.get_termios()), self.settings, "line settings");
    }
}
