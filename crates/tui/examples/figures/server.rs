//! A real embedded server with traffic: `evs-server`, and `evs` that fills it, both of the same profile as this example.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::screen::binary;

const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    api: u16,
    gateway: u16,
}

impl Server {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("evs-figures-{}", std::process::id()));
        let (api, gateway) = (free_port()?, free_port()?);
        let child = Command::new(binary("evs-server")?)
            .arg("--data-dir")
            .arg(&folder)
            .args(["--api-addr", &format!("127.0.0.1:{api}"), "--gateway-addr", &format!("127.0.0.1:{gateway}")])
            .args(["--matcher-addr", "127.0.0.1:0"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, folder, api, gateway };
        let end = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", api)).is_err() {
            anyhow::ensure!(Instant::now() < end, "evs-server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Where it is, as flags of `evs-tui` and of `evs`.
    pub(crate) fn flags(&self) -> Vec<String> {
        let url = |port| format!("http://127.0.0.1:{port}");
        vec!["--server".into(), url(self.api), "--gateway".into(), url(self.gateway)]
    }

    pub(crate) fn evs(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(binary("evs")?);
        command.args(self.flags()).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    /// `n` subscribers with a filter each, through `evs filter import`; how long it took.
    pub(crate) fn import(&self, n: usize) -> anyhow::Result<Duration> {
        let path = self.folder.join("filters.ndjson");
        let mut lines = String::new();
        for at in 0..n {
            // One in a thousand gets what flows, so that the order of the table changes.
            let tier = if at % 1_000 == 0 { "premium" } else { "nobody" };
            writeln!(
                lines,
                "{{\"subscriber_id\":\"subscriber_{at}\",\"name\":\"figure\",\"user_tiers\":[\"{tier}\"]}}"
            )?;
        }
        std::fs::write(&path, lines)?;
        let started = Instant::now();
        let status = self.evs(&["filter", "import"])?.arg(&path).status()?;
        anyhow::ensure!(status.success(), "evs filter import: {status}");
        Ok(started.elapsed())
    }

    /// Traffic until the value is dropped.
    pub(crate) fn produce(&self, per_s: u64) -> anyhow::Result<Traffic> {
        Ok(Traffic(self.evs(&["produce", "--rate", &per_s.to_string()])?.spawn()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) struct Traffic(Child);

impl Drop for Traffic {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
