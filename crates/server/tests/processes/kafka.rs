//! Kafka away at the start, and restarted under clients that stay.

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::json;

use crate::bed::{Bed, DEADLINE, address, client, follow, fresh_name, http, publish, receive, subscribe, until};
use crate::own::Own;

#[tokio::test]
async fn kafka_may_come_later_and_go_for_a_while() {
    let kafka = Own::start("kafka").await;
    kafka.stop().await;
    let mut bed = Bed::new().await;
    let log = format!("kafka://{}/{}?partitions=2", kafka.address("EVS_TEST_KAFKA"), fresh_name());
    bed.set("EVS_EVENT_LOG", log);
    let (api, gateway) = (bed.spawn("api"), bed.spawn("gateway,matcher"));
    until("readiness names what is away", async || {
        let Some((503, body)) = api.get("/readyz").await else { return false };
        body["checks"]["event_log"] == "away" && body["checks"]["delivery_queue"] == "ok"
    })
    .await;
    let client = client(&api, &gateway);
    let away = async || !client.stats().await.unwrap().problems.is_empty();
    assert!(away().await, "the numbers that do not need Kafka are there");

    kafka.start_again().await;
    tokio::join!(api.is_ready(), gateway.is_ready());
    until("all numbers are of now", async || !away().await).await;
    subscribe(&client, "reads").await;
    let mut deliveries = follow(&client, "reads");
    publish(&client, 0..50).await;
    assert_eq!(receive(&mut deliveries, 50).await, (0..50).collect::<Vec<_>>(), "the topic was made meanwhile");
    let logged = async || client.stats().await.unwrap().partitions.iter().map(|it| it.high).sum::<u64>();
    until("they are counted", async || logged().await == 50).await;

    kafka.stop().await;
    let event = json!({ "user_id": "a", "n": 1_000 });
    let refused = http().post(format!("{}/events", api.url)).json(&event).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 503, "nobody acknowledges what Kafka has not");
    assert!(refused.headers().contains_key("retry-after"));
    until("the numbers go on, and say what they lack", async || away().await).await;
    assert_eq!(logged().await, 50, "as it was");

    kafka.start_again().await;
    tokio::join!(api.is_ready(), gateway.is_ready());
    publish(&client, 50..100).await;
    let mut numbers = receive(&mut deliveries, 50).await;
    if numbers.contains(&1_000) {
        // A refused event's fate is unknown: the producer may have brought it over after all.
        numbers.retain(|n| *n != 1_000);
        numbers.extend(receive(&mut deliveries, 1).await);
        numbers.sort_unstable();
    }
    assert_eq!(numbers, (50..100).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_operator_sees_the_headers_of_a_record() {
    let (mut bed, topic) = (Bed::new().await, fresh_name());
    bed.set("EVS_EVENT_LOG", format!("kafka://{}/{topic}?partitions=1", address("EVS_TEST_KAFKA")));
    let api = bed.start("api").await;
    let producer: FutureProducer =
        ClientConfig::new().set("bootstrap.servers", address("EVS_TEST_KAFKA")).create().unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header { key: "content-type", value: Some("application/json") })
        .insert(Header { key: "signature", value: Some(&[0xfe_u8, 0x00][..]) })
        .insert(Header::<&str> { key: "empty", value: None });
    let record: FutureRecord<'_, str, str> = FutureRecord::to(&topic).payload("{\"n\":1}").headers(headers);
    producer.send(record, DEADLINE).await.unwrap();
    let wanted = json!([
        { "name": "content-type", "value": "application/json" },
        { "name": "signature", "value_base64": "/gA=" },
        { "name": "empty" }
    ]);
    for path in ["/events/0:0", "/events?from=0:0"] {
        let (_, body) = api.get(path).await.unwrap();
        let event = body["items"].get(0).unwrap_or(&body);
        assert_eq!((&event["headers"], &event["data"]), (&wanted, &json!({ "n": 1 })), "{path}");
    }
}
