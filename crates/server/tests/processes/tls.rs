//! `rediss://`, TLS to PostgreSQL, and SASL over TLS to Kafka, all with a CA that no system knows.

use crate::bed::{Bed, Process, address, follow, fresh_database, publish, receive, subscribe, until};

/// Redis and PostgreSQL over TLS, verified.
async fn secured() -> Bed {
    let ca = address("EVS_TEST_CA");
    let database = fresh_database(&address("EVS_TEST_POSTGRES")).await;
    let mut bed = Bed::with_filters(&format!("{database}?sslmode=verify-full&sslrootcert={ca}"));
    let queue = format!("{}?prefix={}", address("EVS_TEST_REDIS_TLS"), crate::bed::fresh_name());
    bed.set("EVS_DELIVERY_QUEUE", queue);
    bed.set("SSL_CERT_FILE", ca);
    bed
}

/// An event goes all the way through one process of all roles.
async fn works(bed: &Bed) {
    let (api, gateway) = tokio::join!(bed.start("api"), bed.start("gateway,matcher"));
    let client = crate::bed::client(&api, &gateway);
    subscribe(&client, "reads").await;
    let mut deliveries = follow(&client, "reads");
    publish(&client, 0..20).await;
    assert_eq!(receive(&mut deliveries, 20).await, (0..20).collect::<Vec<_>>());
}

/// What readiness says of a dependency once it is sure.
async fn is_away(process: &Process, dependency: &str, others: &[&str]) {
    until(&format!("{dependency} is away: {}", process.log()), async || {
        let Some((503, body)) = process.get("/readyz").await else { return false };
        body["checks"][dependency] == "away" && others.iter().all(|other| body["checks"][other] == "ok")
    })
    .await;
}

#[tokio::test]
async fn redis_and_postgresql_over_tls() {
    works(&secured().await).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_ca_is_refused() {
    let mut bed = secured().await;
    let other = bed.folder().join("other.pem");
    make_ca(&other);
    bed.set("SSL_CERT_FILE", other.to_str().unwrap());
    // Redis is asked again and again, and readiness says so.
    let process = bed.spawn("api");
    is_away(&process, "delivery_queue", &["filter_store", "event_log"]).await;
    assert!(process.log().contains("certificate"), "{}", process.log());

    // With PostgreSQL it is told at the start.
    let database = fresh_database(&address("EVS_TEST_POSTGRES")).await;
    bed.set("EVS_FILTER_STORE", format!("{database}?sslmode=verify-full&sslrootcert={}", other.display()));
    let mut process = bed.spawn("api");
    let status = tokio::time::timeout(crate::bed::DEADLINE, process.child.wait()).await.unwrap().unwrap();
    assert!(!status.success());
    assert!(process.log().contains("certificate"), "{}", process.log());
}

fn make_ca(path: &std::path::Path) {
    let key = path.with_extension("key");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=another CA", "-keyout"])
        .arg(key)
        .arg("-out")
        .arg(path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// A build without OpenSSL says so at the start instead of trying for ever.
#[cfg(not(feature = "kafka-ssl"))]
#[tokio::test]
async fn a_build_without_kafka_ssl_refuses_sasl_ssl() {
    let mut bed = Bed::new().await;
    bed.set("EVS_KAFKA_PROPERTIES", "security.protocol=SASL_SSL;sasl.mechanism=PLAIN");
    let mut process = bed.spawn("api");
    let status = tokio::time::timeout(crate::bed::DEADLINE, process.child.wait()).await.unwrap().unwrap();
    assert!(!status.success());
    assert!(process.log().contains("kafka-ssl"), "{}", process.log());
}

#[cfg(feature = "kafka-ssl")]
mod kafka {
    use super::*;

    async fn with_kafka(mechanism: &str, password: &str) -> Bed {
        let mut bed = secured().await;
        let log = format!("kafka://{}/{}", address("EVS_TEST_KAFKA_SASL"), crate::bed::fresh_name());
        bed.set("EVS_EVENT_LOG", log);
        let ca = address("EVS_TEST_CA");
        let properties = format!(
            "security.protocol=SASL_SSL;ssl.ca.location={ca};sasl.mechanism={mechanism};sasl.username=evs;\
             sasl.password={password}"
        );
        bed.set("EVS_KAFKA_PROPERTIES", properties);
        bed
    }

    #[tokio::test]
    async fn plain_over_tls() {
        works(&with_kafka("PLAIN", "evs-secret").await).await;
    }

    #[tokio::test]
    async fn scram_over_tls() {
        works(&with_kafka("SCRAM-SHA-256", "evs-secret").await).await;
    }

    #[tokio::test]
    async fn a_wrong_password_degrades_readiness_and_is_not_logged() {
        let bed = with_kafka("SCRAM-SHA-256", "the-wrong-word").await;
        let process = bed.spawn("api");
        is_away(&process, "event_log", &["filter_store", "delivery_queue"]).await;
        assert!(process.log().contains("uthentication"), "{}", process.log());
        assert!(!process.log().contains("the-wrong-word"));
    }
}
