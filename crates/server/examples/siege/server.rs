//! The server as a process of its own, so that its memory and its clients' are told apart.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const SECRET: &str = "5e9d0b7c42a8f1635e9d0b7c42a8f163";

pub(crate) struct Besieged {
    pub(crate) api: SocketAddr,
    pub(crate) gateway: SocketAddr,
    /// A token that may do all; empty where none is asked for.
    pub(crate) token: String,
    child: Child,
    _folder: TempDir,
}

impl Besieged {
    /// `locked`: with authentication, and with loopback addresses limited as those of strangers are.
    pub(crate) async fn start(server: Option<PathBuf>, locked: bool) -> anyhow::Result<Self> {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("evs-server"));
        let server = server.or_else(beside).context("no folder")?;
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(&server);
        command
            .args(["--api-addr", "127.0.0.1:0", "--matcher-addr", "127.0.0.1:0", "--gateway-addr", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(folder.path())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if locked {
            let settings = [("ALGORITHM", "HS256"), ("ISSUER", "siege"), ("SECRET", SECRET)];
            settings.iter().for_each(|(name, value)| _ = command.env(format!("EVS_AUTH_{name}"), value));
            command.env("EVS_LIMIT_LOOPBACK", "true");
        }
        let mut child = command.spawn().with_context(|| format!("cannot start {}", server.display()))?;
        let mut lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        let (mut api, mut gateway) = (None, None);
        while api.is_none() || gateway.is_none() {
            let line = lines.next_line().await?.context("the server ended")?;
            let entry: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
            let addr = || entry["addr"].as_str().and_then(|addr| addr.parse().ok());
            match entry["role"].as_str() {
                Some("api") => api = addr(),
                Some("gateway") => gateway = addr(),
                _ => {}
            }
        }
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let token = if locked { token()? } else { String::new() };
        let (Some(api), Some(gateway)) = (api, gateway) else { anyhow::bail!("a role without an address") };
        Ok(Self { api, gateway, token, child, _folder: folder })
    }

    /// Processor time so far, in milliseconds, to a hundredth of a second.
    pub(crate) fn cpu_ms(&self) -> u64 {
        let stat = self.child.id().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        // Behind the name, which may hold spaces: the 12th and 13th fields, in ticks of 10 ms.
        let fields = stat.as_deref().and_then(|text| text.rsplit_once(')')).map_or("", |(_, fields)| fields);
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
    }

    /// Resident memory in KiB.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = self.child.id().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let line = status.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("VmRSS:")));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }
}

fn token() -> anyhow::Result<String> {
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let claims = json!({ "sub": "legit", "iss": "siege", "aud": "evs", "iat": now_s, "exp": now_s + 3600,
        "scope": "produce subscribe filters:any operate" });
    Ok(encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes()))?)
}

/// What else the machine does.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, load {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
