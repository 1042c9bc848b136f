//! Typed client of evs: REST, server-sent events, and a stream of deliveries that resumes and hides reconnects.
//!
//! ```no_run
//! use evs_client::{Ack, Client, Config, Options, StreamItem};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Config::new("http://localhost:8001")?)?;
//! client.publish(r#"{"event_id":"1","user_id":"u","event_type":"purchase","user_tier":"premium","amount":120}"#, None).await?;
//!
//! let mut deliveries = client.subscribe("user_1", Options { ack: Ack::OnDelivery, ..Options::default() })?;
//! while let Some(item) = deliveries.next().await {
//!     match item? {
//!         StreamItem::Event(delivery) => println!("{}", delivery.data.get()),
//!         StreamItem::Gap(gap) => eprintln!("deliveries {}-{:?} were lost: {:?}", gap.from, gap.to, gap.reason),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! In reading order: [`Config`] says where the server is, [`Client`] has a method for each REST endpoint, [`feed`] reads
//! what the server tells once a second or as it happens, [`subscription`] is the stream of deliveries.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod config;
mod connection;
pub mod error;
pub mod feed;
pub mod frames;
mod http;
pub mod progress;
mod renewal;
mod rest;
mod sse;
pub mod subscription;

pub use config::{Config, RequestLine, Token};
pub use error::{Error, StreamError};
pub use evs_api as api;
pub use feed::Feed;
pub use http::Client;
pub use rest::{EventsQuery, FeedEvent, ResetTo, Saved, SubscriberSort, SubscribersQuery};
pub use subscription::{Ack, Delivery, From, Options, StreamItem, Subscription};
