//! The binary in a pseudo terminal, and what it costs, as the kernel counts it.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Screen {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    shared: Arc<Shared>,
    _master: Box<dyn MasterPty + Send>,
}

struct Shared {
    parser: Mutex<vt100::Parser>,
    changed: Condvar,
}

impl Screen {
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> anyhow::Result<Self> {
        let pair = native_pty_system().openpty(PtySize { rows: 40, cols: 120, pixel_width: 0, pixel_height: 0 })?;
        let mut command = CommandBuilder::new(binary("evs-tui")?);
        command.args(arguments);
        command.arg("--no-persist");
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command)?;
        drop(pair.slave);
        let shared = Arc::new(Shared { parser: Mutex::new(vt100::Parser::new(40, 120, 0)), changed: Condvar::new() });
        let mut output = pair.master.try_clone_reader()?;
        let theirs = shared.clone();
        std::thread::spawn(move || {
            let mut bytes = [0; 64 * 1024];
            while let Ok(n @ 1..) = output.read(&mut bytes) {
                theirs.parser.lock().expect("nobody panics with it").process(&bytes[..n]);
                theirs.changed.notify_all();
            }
        });
        let keys = pair.master.take_writer()?;
        Ok(Self { child, keys, shared, _master: pair.master })
    }

    fn parser(&self) -> MutexGuard<'_, vt100::Parser> {
        self.shared.parser.lock().expect("nobody panics with it")
    }

    pub(crate) fn text(&self) -> String {
        self.parser().screen().contents()
    }

    pub(crate) fn press(&mut self, keys: &str) -> anyhow::Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        Ok(self.keys.flush()?)
    }

    pub(crate) fn until(&self, holds: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        let mut parser = self.parser();
        while !holds(&parser.screen().contents()) {
            let left = end.saturating_duration_since(Instant::now());
            anyhow::ensure!(!left.is_zero(), "not in time:\n{}", parser.screen().contents());
            parser = self.shared.changed.wait_timeout(parser, left).expect("nobody panics with it").0;
        }
        Ok(())
    }

    /// Until the next output.
    pub(crate) fn changed(&self) -> anyhow::Result<()> {
        let parser = self.parser();
        let (parser, waited) = self.shared.changed.wait_timeout(parser, DEADLINE).expect("nobody panics with it");
        drop(parser);
        anyhow::ensure!(!waited.timed_out(), "the screen stands still");
        Ok(())
    }

    pub(crate) fn rest(&self, time: Duration) {
        std::thread::sleep(time);
    }

    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()?))?;
        let fields: Vec<&str> = stat.rsplit(')').next().context("no stat")?.split_whitespace().collect();
        // User and system time, in hundredths of a second.
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    pub(crate) fn memory_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS")).context("no VmRSS")?;
        line.split_whitespace().nth(1).context("no size")?.parse().context("no number")
    }

    fn id(&self) -> anyhow::Result<u32> {
        self.child.process_id().context("it ended")
    }

    pub(crate) fn quit(&mut self) -> anyhow::Result<()> {
        self.press("q")?;
        self.child.wait()?;
        Ok(())
    }
}

/// A program of the same profile as this example, or from the folder that `EVS_FIGURES_BIN` names.
pub(crate) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let folder = match std::env::var_os("EVS_FIGURES_BIN") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let here = std::env::current_exe()?;
            here.parent().and_then(|p| p.parent()).context("no target folder")?.to_owned()
        }
    };
    let path = folder.join(name);
    anyhow::ensure!(path.exists(), "there is no {}: build it first", path.display());
    Ok(path)
}
