//! PostgreSQL away, restarted, and silent.

use serde_json::json;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::bed::{Bed, address, client, follow, fresh_database, http, publish, receive, subscribe, until};
use crate::own::Own;

#[tokio::test]
async fn streaming_goes_on_while_postgresql_restarts_and_the_api_says_when_to_come_back() {
    let postgres = Own::start("postgres").await;
    let server = postgres.address("EVS_TEST_POSTGRES");
    let bed = Bed::with_filters(fresh_database(&server).await.as_str());
    let (api, matcher, gateway) = tokio::join!(bed.start("api"), bed.start("matcher"), bed.start("gateway"));
    let client = client(&api, &gateway);
    subscribe(&client, "reads").await;
    let mut deliveries = follow(&client, "reads");
    publish(&client, 0..50).await;
    assert_eq!(receive(&mut deliveries, 50).await, (0..50).collect::<Vec<_>>());

    postgres.stop().await;
    // Events are taken, matched and delivered as before.
    for round in 1..4 {
        publish(&client, round * 50..(round + 1) * 50).await;
        assert_eq!(receive(&mut deliveries, 50).await, (round * 50..(round + 1) * 50).collect::<Vec<_>>());
    }
    let put = async || {
        let request = http().post(format!("{}/filters", api.url)).json(&json!({ "subscriber_id": "later" }));
        request.send().await.unwrap()
    };
    let refused = put().await;
    assert_eq!(refused.status().as_u16(), 503);
    let retry_after: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(retry_after >= 1);
    until("readiness names what is away", async || {
        matcher
            .get("/readyz")
            .await
            .is_some_and(|(status, body)| status == 503 && body["checks"]["filter_store"] == "away")
    })
    .await;

    postgres.start_again().await;
    until("the api takes filters again", async || put().await.status().is_success()).await;
    subscribe(&client, "newest").await;
    let mut newest = follow(&client, "newest");
    publish(&client, 200..250).await;
    assert_eq!(receive(&mut newest, 50).await, (200..250).collect::<Vec<_>>(), "the matcher follows the store again");
    assert_eq!(receive(&mut deliveries, 50).await, (200..250).collect::<Vec<_>>());
    matcher.is_ready().await;
}

/// As through a pooler in transaction mode: the notifications of this database go nowhere.
#[tokio::test]
async fn a_lost_notification_is_found_by_polling() {
    let database = fresh_database(&address("EVS_TEST_POSTGRES")).await;
    let name = database.path().trim_start_matches('/').to_owned();
    let mut connection = PgConnection::connect(database.as_str()).await.unwrap();
    let silence = "CREATE FUNCTION public.pg_notify(text, text) RETURNS void LANGUAGE sql AS 'SELECT'";
    sqlx::query(silence).execute(&mut connection).await.unwrap();
    let path = format!("ALTER DATABASE \"{name}\" SET search_path = public, pg_catalog");
    sqlx::query(AssertSqlSafe(path)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let pool = PgPoolOptions::new().connect(database.as_str()).await.unwrap();
    let mut listener = PgListener::connect_with(&pool).await.unwrap();
    listener.listen("evs_filters").await.unwrap();

    let bed = Bed::with_filters(database.as_str());
    let (api, _matcher, gateway) = tokio::join!(bed.start("api"), bed.start("matcher"), bed.start("gateway"));
    let client = client(&api, &gateway);
    for subscriber in ["one", "two", "three"] {
        // Answers only when the matcher, another process, has applied it.
        subscribe(&client, subscriber).await;
    }
    // Whatever was said before this comes before this.
    sqlx::query("SELECT pg_catalog.pg_notify('evs_filters', 'the test')").execute(&pool).await.unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "the test", "no change was notified");
}
