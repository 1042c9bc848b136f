//! Ctrl-C and SIGTERM: the first asks the command to stop and sum up, the second ends the program at once.

use std::process;

use tokio::sync::watch;

use crate::exit::ExitStatus;

#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    status: watch::Receiver<Option<ExitStatus>>,
}

impl Interrupt {
    pub(crate) fn listen() -> Self {
        let (sender, status) = watch::channel(None);
        tokio::spawn(async move {
            loop {
                let status = signal().await;
                if sender.send_replace(Some(status)).is_some() {
                    process::exit(status as i32);
                }
            }
        });
        Self { status }
    }

    /// Waits for the wish to stop.
    pub(crate) async fn wait(&self) -> ExitStatus {
        let mut status = self.status.clone();
        loop {
            if let Some(status) = *status.borrow_and_update() {
                return status;
            }
            if status.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The exit status of a command that was asked to stop, or success.
    pub(crate) fn status(&self) -> ExitStatus {
        self.status.borrow().unwrap_or(ExitStatus::Success)
    }
}

#[cfg(unix)]
async fn signal() -> ExitStatus {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            Ok(()) = tokio::signal::ctrl_c() => ExitStatus::Interrupted,
            Some(()) = terminate.recv() => ExitStatus::Terminated,
            else => std::future::pending().await,
        },
        Err(_) => std::future::pending().await,
    }
}

#[cfg(not(unix))]
async fn signal() -> ExitStatus {
    match tokio::signal::ctrl_c().await {
        Ok(()) => ExitStatus::Interrupted,
        Err(_) => std::future::pending().await,
    }
}
