//! The filter store on PostgreSQL.
//!
//! Every change locks the one row of `filter_version` first, so changes are serial and their versions dense in the
//! order of their commits. `NOTIFY` only wakes; the truth is `changes_since`, which every matcher also polls.

mod store;
mod wake;

use std::time::Duration;

use anyhow::Context as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ports::PortError;
use crate::retry::Backoff;
use wake::Wake;

const WHAT: &str = "PostgreSQL";
const CONNECTIONS_MAX: u32 = 10;
/// A pool that has no connection for so long has lost its database.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a start waits for a database that is away.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// No statement of ours takes seconds; a lock that is held longer belongs to somebody who is gone.
const TIMEOUTS: [(&str, &str); 3] =
    [("statement_timeout", "30s"), ("lock_timeout", "10s"), ("idle_in_transaction_session_timeout", "30s")];

/// How a PostgreSQL filter store is opened.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Shards of the delivery log, over which subscribers are spread; fixed at the first start and checked.
    pub shards: u16,
}

/// The filter store on a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresFilters {
    pool: PgPool,
    shards: u16,
    clock: Clock,
    wake: Wake,
    listener: JoinHandle<()>,
}

impl PostgresFilters {
    /// Opens `postgres://user:password@host:5432/database` (`?sslmode=verify-full` and the other libpq parameters) and
    /// brings its tables up to date, under an advisory lock. Waits a minute for a database that is away.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the URL or the database, or that it was made for other shards.
    pub async fn open(url: &str, options: PostgresOptions, clock: Clock) -> anyhow::Result<Self> {
        // Only the first installation succeeds; one provider is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connect: PgConnectOptions =
            url.parse().context("a filter store is written postgres://user:password@host:5432/database")?;
        let connect = connect
            .application_name("evs-server")
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
        prepare(&connect, options.shards).await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(connect.clone().options(TIMEOUTS));
        let wake = Wake::default();
        let listener = tokio::spawn(wake::listen(connect, wake.clone()));
        Ok(Self { pool, shards: options.shards, clock, wake, listener })
    }
}

impl Drop for PostgresFilters {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Migrates and checks, trying again while the database is away.
async fn prepare(connect: &PgConnectOptions, shards: u16) -> anyhow::Result<()> {
    let never = CancellationToken::new();
    let mut backoff = Backoff::default();
    let started = tokio::time::Instant::now();
    let mut connection = loop {
        match tokio::time::timeout(ACQUIRE_TIMEOUT, connect.connect()).await {
            Ok(Ok(connection)) => break connection,
            Ok(Err(error)) if !is_away(&error) => return Err(error).context("cannot use the filter store"),
            Ok(Err(error)) if started.elapsed() > START_TIMEOUT => {
                return Err(error).context("the filter store cannot be reached");
            }
            Ok(Err(error)) => tracing::warn!(%error, "the filter store cannot be reached yet; trying again"),
            Err(_) if started.elapsed() > START_TIMEOUT => anyhow::bail!("the filter store does not answer"),
            Err(_) => tracing::warn!("the filter store does not answer yet; trying again"),
        }
        backoff.wait(&never).await;
    };
    sqlx::migrate!("../../migrations/postgres").run(&mut connection).await.context("cannot make the tables")?;
    sqlx::query("INSERT INTO settings (key, value) VALUES ('shards', $1) ON CONFLICT DO NOTHING")
        .bind(shards.to_string())
        .execute(&mut connection)
        .await?;
    let made: String =
        sqlx::query_scalar("SELECT value FROM settings WHERE key = 'shards'").fetch_one(&mut connection).await?;
    connection.close().await.ok();
    anyhow::ensure!(
        made == shards.to_string(),
        "this filter store was made for {made} queue shards, not {shards}; set queue_shards = {made}"
    );
    Ok(())
}

/// Whether it may answer later. What the database itself says, such as a wrong password, stays wrong, except that it
/// is starting or stopping, or has no connection left.
fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("53"))
        }
        // A certificate that is not trusted, or speech that is not TLS.
        sqlx::Error::Io(error) => error.kind() != std::io::ErrorKind::InvalidData,
        sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
        _ => false,
    }
}

fn port_error(error: sqlx::Error) -> PortError {
    let cause = error.to_string();
    match &error {
        // Disk full, out of memory.
        sqlx::Error::Database(error) if error.code().is_some_and(|code| matches!(&*code, "53100" | "53200")) => {
            PortError::Full { what: WHAT, cause }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => {
            PortError::Damaged { what: WHAT, cause }
        }
        _ => PortError::Unavailable { what: WHAT, cause },
    }
}
