//! PostgreSQL away, restarted, and silent.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::bed::{Bed, address, client, follow, fresh_database, http, publish, receive, subscribe, until};

/// A PostgreSQL of this test's own, which can be stopped.
struct Postgres {
    folder: tempfile::TempDir,
}

impl Postgres {
    fn start() -> (Self, String) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL does not run as root; its user must get through to its folder.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let postgres = Self { folder };
        let printed = postgres.services("up");
        let line = printed.lines().find_map(|line| line.strip_prefix("export EVS_TEST_POSTGRES="));
        (postgres, line.unwrap().to_owned())
    }

    fn services(&self, word: &str) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services");
        let ran = Command::new(script).args([word, "postgres"]).env("EVS_SERVICES_DIR", self.folder.path()).output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.services("stop");
    }
}

#[tokio::test]
async fn streaming_goes_on_while_postgresql_restarts_and_the_api_says_when_to_come_back() {
    let (postgres, server) = tokio::task::spawn_blocking(Postgres::start).await.unwrap();
    let bed = Bed::with_filters(fresh_database(&server).await.as_str());
    let (api, matcher, gateway) = tokio::join!(bed.start("api"), bed.start("matcher"), bed.start("gateway"));
    let client = client(&api, &gateway);
    subscribe(&client, "reads").await;
    let mut deliveries = follow(&client, "reads");
    publish(&client, 0..50).await;
    assert_eq!(receive(&mut deliveries, 50).await, (0..50).collect::<Vec<_>>());

    postgres.services("stop");
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

    postgres.services("up");
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
