//! A real embedded server under traffic (`evs-server demo`): every view, a filter made and deleted, a server that goes
//! away and comes back.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::pty::{Pty, binary};

pub(crate) struct Server {
    child: Child,
    pub(crate) api: String,
    pub(crate) gateway: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::at("127.0.0.1:0", "127.0.0.1:0")
    }

    fn at(api: &str, gateway: &str) -> Self {
        let mut child = Command::new(beside("evs-server"))
            .args(["demo", "--plain", "--rate", "200", "--api-addr", api, "--gateway-addr", gateway])
            .args(["--matcher-addr", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // It tells its addresses in the commands to paste.
        let line = loop {
            let line = lines.next().expect("the demo tells its addresses").unwrap();
            if line.contains("--server") {
                break line;
            }
        };
        let after = |flag: &str| line.split(flag).nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        let (api, gateway) = (after("--server"), after("--gateway"));
        // Nobody reads the rest, but a full pipe would stop it.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, api, gateway }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program beside `evs-tui` by the name of its package, built if a test of this crate alone did not.
pub(crate) fn beside(name: &str) -> PathBuf {
    let path = binary().with_file_name(name);
    if !path.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo).args(["build", "-p", name]).status().unwrap();
        assert!(status.success() && path.exists(), "{name} could not be built");
    }
    path
}

#[test]
fn a_walk_through_a_server() {
    let server = Server::start();
    let arguments = ["--server", &server.api, "--gateway", &server.gateway, "--no-persist"];
    let mut pty = Pty::dashboard(&arguments, (120, 40));
    pty.until("reports", |s| s.contains("connected") && s.contains("Throughput in") && s.contains("embedded"));
    pty.press("2");
    pty.until("the subscribers", |s| s.contains("fraud-desk") && s.contains("user_1") && s.contains("growth"));
    pty.press("/fraud\r\r");
    pty.until("one subscriber", |s| s.contains("Filters 1") && s.contains("Live events") && s.contains(" 0:"));
    pty.press("v");
    pty.until("its events", |s| s.contains("Events › fraud-desk") && s.contains("following"));
    pty.until("an event", |s| s.contains("refund") || s.contains("purchase"));
    pty.press("3A");
    pty.until("all events", |s| s.contains("Events all ● live") && s.contains("page_view"));
    pty.press("wamount > 100\r");
    pty.until("the condition", |s| {
        s.contains("where amount > 100") && !s.contains("well formed") && s.contains("country=")
    });
    pty.press("\x1b[A\r");
    pty.until("the detail", |s| s.contains("\"event_id\"") && s.contains("new below"));
    pty.press("xfraud-desk\r");
    pty.until("why", |s| s.contains("Why: event") && s.contains("amount >= 200") && s.contains("saw"));
    pty.press("\x1b");
    pty.until("closed", |s| !s.contains("Why: event"));
    // A filter, tried, saved and deleted.
    pty.press("4");
    pty.until("the filters", |s| s.contains("fraud-desk") && s.contains("active"));
    pty.press("atui-test\t\t\t\t\tamount > 900\r");
    pty.until("the dry run", |s| s.contains("would match"));
    pty.press("\r");
    pty.until("it is saved", |s| s.contains("saved for tui-test"));
    pty.press("/tui-test\r");
    pty.until("it is listed", |s| s.contains("1 match") && s.contains("amount > 900"));
    pty.press("d");
    pty.until("the question", |s| s.contains("Delete filter"));
    pty.press("y");
    pty.until("it is gone", |s| s.contains("no filter matches"));
    for (key, title) in [("5", "Log "), ("6", "Dead letters"), ("7", "Instances 1")] {
        pty.press(key);
        pty.until(title, |s| s.contains(title));
    }
    pty.press("1 ");
    pty.until("the pause", |s| s.contains("PAUSED"));
    pty.press(" ");
    for size in [(60, 20), (40, 12), (120, 40)] {
        pty.resize(size);
        pty.until("the new size", |s| s.contains("1 Overview") && s.contains("connected"));
    }
    // The server goes away: the data stays, and the screen says so.
    let (api, gateway) = (server.api.clone(), server.gateway.clone());
    drop(server);
    pty.until("the loss", |s| s.contains("retrying in") && s.contains("Throughput in"));
    let addr = |url: &str| url.trim_start_matches("http://").to_owned();
    let server = Server::at(&addr(&api), &addr(&gateway));
    pty.until("it is back", |s| s.contains("connected") && !s.contains("retrying"));
    // The log of the old life was read to its end; the new one begins with a start of its own.
    pty.press("5");
    pty.until("both starts in the log", |s| s.matches("info  started").count() == 2);
    pty.press("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_restored();
    drop(server);
}
