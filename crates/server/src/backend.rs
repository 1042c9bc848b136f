//! The backends of the three ports: chosen by URL here and nowhere else.

#[cfg(feature = "distributed")]
pub mod kafka;
pub mod memory;
#[cfg(feature = "distributed")]
pub mod postgres;
#[cfg(feature = "distributed")]
pub mod redis;
pub mod sqlite;

use std::sync::Arc;

use anyhow::bail;

use crate::clock::Clock;
use crate::config::{Config, Durability};
use crate::ports::{DeliveryQueue, EventLog, FilterStore};

/// The three ports, open.
#[derive(Clone, Debug)]
pub struct Backends {
    pub log: Arc<dyn EventLog>,
    pub queue: Arc<dyn DeliveryQueue>,
    pub filters: Arc<dyn FilterStore>,
}

impl Backends {
    /// # Errors
    /// A sentence that says which store cannot be used, why, and what to do.
    pub async fn open(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        let embedded = [&config.event_log, &config.delivery_queue, &config.filter_store].map(|url| url == "sqlite");
        if embedded != [true; 3] {
            bail!("this server knows only the embedded store: leave the URLs of the stores out");
        }
        let options =
            sqlite::SqliteOptions { data_dir: config.data_dir.clone(), fsync: config.durability == Durability::Full };
        let db = sqlite::Db::open(&options).await?;
        let shards = config.queue_shards;
        Ok(Self {
            log: Arc::new(sqlite::SqliteLog::open(db.clone(), clock.clone()).await?),
            queue: Arc::new(
                sqlite::SqliteQueue::open(db.clone(), clock.clone(), shards, config.queue_log_bytes_max).await?,
            ),
            filters: Arc::new(sqlite::SqliteFilters::open(db, clock.clone(), shards).await?),
        })
    }
}
