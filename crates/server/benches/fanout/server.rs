//! The server as a process, what it costs, and the smallest HTTP client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks of `/proc/<pid>/stat`, the same on every Linux that Rust runs on.
const TICKS_PER_S: f64 = 100.0;

pub(crate) struct Server {
    child: Child,
    pub(crate) api: SocketAddr,
    pub(crate) gateway: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(shards: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let (api, matcher, gateway) = (free(), free(), free());
        let child = Command::new(env!("CARGO_BIN_EXE_evs-server"))
            .arg("--data-dir")
            .arg(folder.path())
            .args(["--api-addr", &api.to_string(), "--matcher-addr", &matcher.to_string()])
            .args(["--gateway-addr", &gateway.to_string(), "--queue-shards", &shards.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server");
        let server = Self { child, api, gateway, _folder: folder };
        let end = Instant::now() + Duration::from_secs(20);
        let ready =
            |addr| TcpStream::connect(addr).is_ok_and(|stream| Http(BufReader::new(stream)).get("/readyz").0 == 200);
        while !(ready(api) && ready(gateway)) {
            assert!(Instant::now() < end, "the server is not ready in time");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Time on processors so far, of all threads.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the process");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
        Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS_PER_S)
    }

    pub(crate) fn resident_kib(&self) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, text) = Http::connect(self.gateway).get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection that is kept.
pub(crate) struct Http(BufReader<TcpStream>);

impl Http {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        Self(BufReader::new(stream))
    }

    pub(crate) fn get(&mut self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"), &[])
    }

    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.ask(&head, body)
    }

    fn ask(&mut self, head: &str, body: &[u8]) -> (u16, String) {
        self.0.get_mut().write_all(&[head.as_bytes(), body].concat()).expect("a request");
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("an answer");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}
