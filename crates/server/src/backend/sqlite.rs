//! The embedded backend: all three ports on one SQLite file.
//!
//! One task owns the only writing connection. It takes every job that waits, runs them in one transaction, each in a
//! savepoint of its own, commits once, and only then answers: a group commit. Readers have connections of their own
//! and see what was committed (WAL). A lock on the folder keeps a second server out.

mod delivery_queue;
mod event_log;
mod filter_store;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor, Row, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

pub use delivery_queue::SqliteQueue;
pub use event_log::SqliteLog;
pub use filter_store::SqliteFilters;

use crate::ports::{PortError, PortResult};

const WHAT: &str = "the embedded store";
/// Jobs that wait for the writer; past it callers wait, which is the back-pressure.
const JOBS_WAITING_MAX: usize = 4096;
/// Jobs of one transaction: enough to share one fsync among all that wait, few enough to answer soon.
const JOBS_PER_COMMIT_MAX: usize = 512;
const READERS: u32 = 4;

/// How an embedded store is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    pub data_dir: PathBuf,
    /// `false`: a power loss may undo the last commits; a crash of the process never does.
    pub fsync: bool,
}

/// The open file.
#[derive(Debug)]
pub struct Db {
    jobs: mpsc::Sender<Job>,
    readers: SqlitePool,
    /// Held for the life of the store: a second server on this folder is refused.
    _lock: File,
}

type Answer = Box<dyn FnOnce(Result<(), PortError>) + Send>;
type Job = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, (bool, Answer)> + Send>;

impl Db {
    /// # Errors
    /// A sentence that says which path cannot be used and why, or that another server has it.
    pub async fn open(options: &SqliteOptions) -> anyhow::Result<Arc<Self>> {
        let dir = &options.data_dir;
        let explain = |error: std::io::Error| {
            anyhow::anyhow!("cannot use the data folder {}: {error}; give another with --data-dir", dir.display())
        };
        std::fs::create_dir_all(dir).map_err(explain)?;
        let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(explain)?;
        lock.try_lock().map_err(|_| {
            anyhow::anyhow!(
                "the data folder {} is in use by another server; stop it, or give another with --data-dir",
                dir.display()
            )
        })?;
        let path = dir.join("evs.db");
        let mut writer = connect(&path, options.fsync).await.map_err(|error| {
            anyhow::anyhow!("cannot open {}: {error}; is the folder writable and the file a database?", path.display())
        })?;
        sqlx::migrate!("../../migrations/sqlite").run(&mut writer).await?;
        let read_options = SqliteConnectOptions::new()
            .filename(&path)
            .read_only(true)
            .busy_timeout(Duration::from_secs(5))
            .disable_statement_logging();
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(read_options).await?;
        let (jobs, waiting) = mpsc::channel(JOBS_WAITING_MAX);
        tokio::spawn(write_jobs(writer, waiting));
        Ok(Arc::new(Self { jobs, readers, _lock: lock }))
    }

    /// Runs `job` in the next transaction and answers once it is durable. The job may be awaited by dropping callers:
    /// it runs to its end all the same.
    async fn write<T, F>(&self, job: F) -> PortResult<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send + 'static,
    {
        self.write_then(job, |_| {}).await
    }

    /// As [`write`](Self::write); `committed` runs on the writer's task right after the commit, in commit order.
    async fn write_then<T, F, C>(&self, job: F, committed: C) -> PortResult<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send + 'static,
        C: FnOnce(&T) + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<PortResult<T>>();
        let job: Job = Box::new(move |connection| {
            Box::pin(async move {
                let result = job(connection).await;
                let keep = result.is_ok();
                let reply: Answer = Box::new(move |commit| {
                    let result = match (result, commit) {
                        (Ok(value), Ok(())) => {
                            committed(&value);
                            Ok(value)
                        }
                        (Ok(_), Err(error)) => Err(error),
                        (Err(error), _) => Err(port_error(&error)),
                    };
                    // A caller that has gone needs no answer.
                    let _ = answer.send(result);
                });
                (keep, reply)
            })
        });
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }
}

fn stopped() -> PortError {
    PortError::Unavailable { what: WHAT, cause: "its writer has stopped".into() }
}

async fn connect(path: &Path, fsync: bool) -> Result<SqliteConnection, sqlx::Error> {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if fsync { SqliteSynchronous::Full } else { SqliteSynchronous::Normal })
        .busy_timeout(Duration::from_secs(5))
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-65536")
        .statement_cache_capacity(256)
        .disable_statement_logging()
        .connect()
        .await
}

/// The writer: ends when every [`Db`] is dropped.
async fn write_jobs(mut connection: SqliteConnection, mut waiting: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(JOBS_PER_COMMIT_MAX);
    loop {
        if waiting.recv_many(&mut jobs, JOBS_PER_COMMIT_MAX).await == 0 {
            break;
        }
        let mut answers = Vec::with_capacity(jobs.len());
        let outcome = transact(&mut connection, &mut jobs, &mut answers).await;
        if outcome.is_err() {
            // Whatever failed, the transaction must not stay open; an error here means that it is not.
            let _ = connection.execute("ROLLBACK").await;
        }
        for answer in answers {
            answer(outcome.as_ref().copied().map_err(port_error));
        }
        jobs.clear();
    }
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "the embedded store did not close cleanly");
    }
}

async fn transact(
    connection: &mut SqliteConnection,
    jobs: &mut Vec<Job>,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    let begun = connection.execute("BEGIN IMMEDIATE").await;
    // One job alone needs no savepoint: if it fails, all of the transaction goes.
    let alone = jobs.len() == 1;
    let mut failed = begun.err();
    for job in jobs.drain(..) {
        if failed.is_none() && !alone {
            failed = connection.execute("SAVEPOINT job").await.err();
        }
        let (keep, answer) = job(connection).await;
        answers.push(answer);
        if failed.is_none() && !alone {
            let end = if keep { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
            failed = connection.execute(end).await.err();
        } else if alone && !keep {
            connection.execute("ROLLBACK").await?;
            return Ok(());
        }
    }
    match failed {
        Some(error) => Err(error),
        None => connection.execute("COMMIT").await.map(|_| ()),
    }
}

/// What a caller can do about an SQLite error.
fn port_error(error: &sqlx::Error) -> PortError {
    let code = match error {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<i64>().ok()).unwrap_or(0) & 0xff,
        _ => 0,
    };
    let cause = error.to_string();
    match code {
        // SQLITE_FULL
        13 => PortError::Full { what: WHAT, cause },
        // SQLITE_CORRUPT, SQLITE_NOTADB
        11 | 26 => PortError::Damaged { what: WHAT, cause },
        _ => PortError::Unavailable { what: WHAT, cause },
    }
}

/// Reads a column that our own statements wrote as a non-negative number.
fn number(row: &sqlx::sqlite::SqliteRow, column: &str) -> u64 {
    row.get::<i64, _>(column) as u64
}
