//! The filter store on PostgreSQL, each test in a database of its own.

use evs_server::backend::postgres::{PostgresFilters, PostgresOptions};
use evs_server::clock::Clock;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::filter_store::SHARDS;
use crate::services::{address, fresh_name};

async fn make_filters() -> (PostgresFilters, ()) {
    let url = fresh_database().await;
    (PostgresFilters::open(&url, PostgresOptions { shards: SHARDS }, Clock::system()).await.unwrap(), ())
}

/// The URL of a new, empty database.
async fn fresh_database() -> String {
    let mut url = url::Url::parse(&address("EVS_TEST_POSTGRES")).unwrap();
    let name = fresh_name();
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE \"{name}\""))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    url.set_path(&name);
    url.into()
}

filter_store_contract!(make_filters);
