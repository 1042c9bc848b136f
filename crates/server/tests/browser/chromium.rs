//! A headless Chromium, spoken to over its own DevTools protocol: enough to open a page and ask it things.

use std::process::Stdio;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Browsers are slow to start on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Chromium {
    _child: Child,
    _profile: TempDir,
    port: u16,
}

/// One tab.
pub(crate) struct Tab {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    calls: u64,
    /// What the page complained about.
    pub(crate) errors: Vec<String>,
}

impl Chromium {
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let program = std::env::var("EVS_TEST_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        let mut child = Command::new(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromium is installed, or EVS_TEST_CHROMIUM names it");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = loop {
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await.expect("it starts").unwrap();
            let line = line.expect("it goes on running");
            if let Some(address) = line.strip_prefix("DevTools listening on ws://127.0.0.1:") {
                break address.split('/').next().unwrap().parse().unwrap();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { _child: child, _profile: profile, port }
    }

    pub(crate) async fn open(&self, url: &str) -> Tab {
        let made = reqwest::Client::new().put(format!("http://127.0.0.1:{}/json/new?about:blank", self.port));
        let tab: Value = made.send().await.unwrap().json().await.unwrap();
        let address = tab["webSocketDebuggerUrl"].as_str().unwrap();
        let (socket, _) = tokio_tungstenite::connect_async(address).await.unwrap();
        let mut tab = Tab { socket, calls: 0, errors: Vec::new() };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            tab.call(domain, json!({})).await;
        }
        tab.go(url).await;
        tab
    }
}

impl Tab {
    pub(crate) async fn go(&mut self, url: &str) {
        let gone = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(gone["errorText"].is_null(), "{gone}");
        self.until("document.readyState === 'complete'").await;
    }

    pub(crate) async fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let call = json!({ "id": self.calls, "method": method, "params": params });
        self.socket.send(Message::text(call.to_string())).await.unwrap();
        loop {
            let message = tokio::time::timeout(DEADLINE, self.socket.next()).await.expect("it answers");
            let Message::Text(text) = message.unwrap().unwrap() else { continue };
            let said: Value = serde_json::from_str(&text).unwrap();
            match said["method"].as_str() {
                Some("Runtime.exceptionThrown") => self.errors.push(said["params"].to_string()),
                Some("Log.entryAdded") if said["params"]["entry"]["source"] == "security" => {
                    self.errors.push(said["params"]["entry"]["text"].to_string());
                }
                _ => {}
            }
            if said["id"] == self.calls {
                assert!(said["error"].is_null(), "{method}: {said}");
                return said["result"].clone();
            }
        }
    }

    /// The value of an expression; a promise is awaited.
    pub(crate) async fn run(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", params).await;
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Asks until it is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        let deadline = Instant::now() + DEADLINE;
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            let params = json!({ "expression": expression, "returnByValue": true });
            let answer = self.call("Runtime.evaluate", params).await;
            if answer["result"]["value"] == true {
                return;
            }
            if Instant::now() > deadline {
                let page = self.run("document.body.innerText").await;
                panic!("{expression} did not come to be true; the page says {page}, errors {:?}", self.errors);
            }
        }
    }

    /// Types into the page's form, and presses its button.
    pub(crate) async fn connect(&mut self, fields: &[(&str, &str)], observe: bool) {
        for (id, value) in fields {
            self.run(&format!("document.getElementById('{id}').value = {}", json!(value))).await;
        }
        self.run(&format!("document.getElementById('observe').checked = {observe}")).await;
        self.run("document.getElementById('connect').click()").await;
    }

    pub(crate) async fn number(&mut self, id: &str) -> u64 {
        let text = self.run(&format!("document.getElementById('{id}').textContent")).await;
        text.as_str().unwrap().replace(',', "").parse().unwrap()
    }

    pub(crate) async fn screenshot(&mut self, path: &str) {
        use base64::Engine as _;
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" })).await;
        let png = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, png).unwrap();
    }
}
