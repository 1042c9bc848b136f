//! The backends of the three ports: chosen by URL here and nowhere else.

#[cfg(feature = "distributed")]
pub mod kafka;
pub mod memory;
#[cfg(feature = "distributed")]
pub mod postgres;
mod put;
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

const EMBEDDED: &str = "sqlite";

impl Backends {
    /// # Errors
    /// A sentence that says which store cannot be used, why, and what to do.
    pub async fn open(config: &Config, clock: &Clock) -> anyhow::Result<Self> {
        let embedded = |url: &str| url == EMBEDDED;
        // What is no event log at all is told as that, below.
        if embedded(&config.delivery_queue) && config.event_log.starts_with("kafka://") {
            bail!(
                "the embedded delivery queue points at events in the embedded event log, so it cannot follow {}; give \
                 --delivery-queue redis://host:6379, or leave --event-log out",
                config.event_log
            );
        }
        let urls = [&config.event_log, &config.delivery_queue, &config.filter_store];
        let db = match urls.into_iter().any(|url| embedded(url)) {
            true => {
                let fsync = config.durability == Durability::Full;
                Some(sqlite::Db::open(&sqlite::SqliteOptions { data_dir: config.data_dir.clone(), fsync }).await?)
            }
            false => None,
        };
        let (shards, log_bytes_max) = (config.queue_shards, config.queue_log_bytes_max);
        let log: Arc<dyn EventLog> = match &db {
            Some(db) if embedded(&config.event_log) => {
                Arc::new(sqlite::SqliteLog::open(db.clone(), clock.clone()).await?)
            }
            _ => open_log(config).await?,
        };
        let queue: Arc<dyn DeliveryQueue> = match &db {
            Some(db) if embedded(&config.delivery_queue) => {
                Arc::new(sqlite::SqliteQueue::open(db.clone(), clock.clone(), shards, log_bytes_max).await?)
            }
            _ => open_queue(config, clock).await?,
        };
        let filters: Arc<dyn FilterStore> = match &db {
            Some(db) if embedded(&config.filter_store) => {
                Arc::new(sqlite::SqliteFilters::open(db.clone(), clock.clone(), shards).await?)
            }
            _ => open_filters(config, clock).await?,
        };
        Ok(Self { log, queue, filters })
    }
}

#[cfg(feature = "distributed")]
async fn open_log(config: &Config) -> anyhow::Result<Arc<dyn EventLog>> {
    let options = kafka::KafkaOptions { properties: config.kafka.properties.clone(), ..Default::default() };
    Ok(Arc::new(kafka::KafkaLog::open(&config.event_log, options).await?))
}

#[cfg(feature = "distributed")]
async fn open_queue(config: &Config, clock: &Clock) -> anyhow::Result<Arc<dyn DeliveryQueue>> {
    let options = redis::RedisOptions {
        shards: config.queue_shards,
        log_bytes_max: config.queue_log_bytes_max,
        ..Default::default()
    };
    Ok(Arc::new(redis::RedisQueue::open(&config.delivery_queue, options, clock.clone()).await?))
}

#[cfg(feature = "distributed")]
async fn open_filters(config: &Config, clock: &Clock) -> anyhow::Result<Arc<dyn FilterStore>> {
    let options = postgres::PostgresOptions { shards: config.queue_shards };
    Ok(Arc::new(postgres::PostgresFilters::open(&config.filter_store, options, clock.clone()).await?))
}

#[cfg(not(feature = "distributed"))]
async fn open_log(config: &Config) -> anyhow::Result<Arc<dyn EventLog>> {
    bail!("this program was built without the feature `distributed`, so {} is unknown to it", config.event_log)
}

#[cfg(not(feature = "distributed"))]
async fn open_queue(config: &Config, _clock: &Clock) -> anyhow::Result<Arc<dyn DeliveryQueue>> {
    bail!("this program was built without the feature `distributed`, so {} is unknown to it", config.delivery_queue)
}

#[cfg(not(feature = "distributed"))]
async fn open_filters(config: &Config, _clock: &Clock) -> anyhow::Result<Arc<dyn FilterStore>> {
    bail!("this program was built without the feature `distributed`, so {} is unknown to it", config.filter_store)
}
