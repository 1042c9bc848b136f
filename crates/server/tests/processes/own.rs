//! A service of a test's own, which can be stopped and started again with its data.

use std::path::PathBuf;
use std::process::Command;

pub(crate) struct Own {
    service: &'static str,
    folder: tempfile::TempDir,
    printed: String,
}

impl Own {
    pub(crate) async fn start(service: &'static str) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL does not run as root; its user must get through to its folder.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let mut own = Self { service, folder, printed: String::new() };
        own.printed = own.ask("up").await;
        own
    }

    /// What `scripts/services` says of where it is.
    pub(crate) fn address(&self, variable: &str) -> String {
        let prefix = format!("export {variable}=");
        self.printed.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
    }

    pub(crate) async fn stop(&self) {
        self.ask("stop").await;
    }

    pub(crate) async fn start_again(&self) {
        self.ask("up").await;
    }

    async fn ask(&self, word: &'static str) -> String {
        let mut command = self.command(word);
        let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services"));
        command.args([word, self.service]).env("EVS_SERVICES_DIR", self.folder.path());
        command
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // It may be stopped already.
        let _ = self.command("stop").output();
    }
}
