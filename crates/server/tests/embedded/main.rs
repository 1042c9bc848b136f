//! Stories of the embedded server through its public doors: the real store, the real sockets, the real client.

mod canary;
#[path = "../support/embedded.rs"]
mod embedded;
#[path = "../support/poll.rs"]
mod poll;
mod upkeep;

use std::time::Duration;

use evs_client::api::filters::FilterSpec;
use evs_client::api::frames::{Gap, GapReason, Resumed};
use evs_client::{Client, Config as ClientConfig, Options, ResetTo, StreamError, StreamItem, Subscription};
use evs_server::app::App;
use evs_server::config::Config;

const DEADLINE: Duration = Duration::from_secs(30);

struct Installation {
    client: Client,
    app: App,
    server: embedded::Embedded,
    folder: tempfile::TempDir,
}

impl Installation {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    async fn start_in(folder: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = embedded::config_in(folder.path());
        config.drain_s = 2;
        change(&mut config);
        let server = embedded::start(config).await;
        let config = ClientConfig::new(&server.api()).unwrap().with_gateway(&server.gateway()).unwrap();
        Self { client: Client::new(config).unwrap(), app: server.app.clone(), server, folder }
    }

    /// Stops it as SIGTERM does; what it stored stays.
    async fn stop(self) -> tempfile::TempDir {
        let Self { server, folder, .. } = self;
        server.stop().await;
        folder
    }

    async fn filter(&self, subscriber: &str) {
        let spec =
            FilterSpec { subscriber_id: subscriber.into(), where_: Some("n >= 0".into()), ..FilterSpec::default() };
        self.client.create_filter(&spec, Some(DEADLINE)).await.unwrap();
    }

    async fn publish(&self, numbers: std::ops::RangeInclusive<u64>) {
        let lines: Vec<String> = numbers.map(|n| format!("{{\"event_id\":\"e{n}\",\"n\":{n}}}")).collect();
        self.client.publish(lines.join("\n"), None).await.unwrap();
    }

    fn listen(&self, subscriber: &str, consumer: &str) -> Subscription {
        let options = Options { consumer: Some(consumer.into()), ..Options::default() };
        self.client.subscribe(subscriber, options).unwrap()
    }
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let ask = async || condition().await.then_some(()).ok_or(());
    poll::poll(DEADLINE, ask, |()| format!("waited in vain until {what}")).await;
}

async fn next(stream: &mut Subscription) -> StreamItem {
    let item = tokio::time::timeout(DEADLINE, stream.next()).await.expect("nothing came");
    item.expect("the stream ended").expect("the stream failed")
}

/// Everything up to `caught_up`: gaps, and the numbers of the events.
async fn waiting(stream: &mut Subscription) -> (Vec<Gap>, Vec<u64>) {
    let (mut gaps, mut numbers) = (Vec::new(), Vec::new());
    loop {
        match next(stream).await {
            StreamItem::Gap(gap) => gaps.push(gap),
            StreamItem::Event(delivery) => {
                let event: serde_json::Value = serde_json::from_str(delivery.data.get()).unwrap();
                numbers.push(event["n"].as_u64().unwrap());
                stream.ack(&delivery);
            }
            StreamItem::CaughtUp => return (gaps, numbers),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_drops_is_told_as_an_exact_gap() {
    let bounds = |config: &mut Config| {
        config.hot_s = 0;
        config.queue_events_max = 50;
    };
    let installation = Installation::start(bounds).await;
    installation.filter("away").await;
    installation.publish(1..=200).await;
    until("retention has dropped 150 deliveries", async || installation.app.metrics.expired.get() == 150).await;
    // It may have taken several looks at the queue.
    let told = async || installation.app.oplog.after(0, 100).into_iter().filter(|entry| entry.kind == "gap");
    until("the operator's log has the last of it", async || {
        told().await.next_back().is_some_and(|entry| entry.message.ends_with("..=150 unread"))
    })
    .await;
    for entry in told().await {
        assert_eq!(entry.subscriber.as_deref(), Some("away"), "{}", entry.message);
    }
    let (gaps, numbers) = waiting(&mut installation.listen("away", "default")).await;
    assert_eq!(gaps, [Gap { from: 1, to: Some(150), reason: GapReason::Retention }]);
    assert_eq!(numbers, (151..=200).collect::<Vec<_>>());
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_subscriber_gets_all_of_it_from_its_spilled_queue() {
    let installation = Installation::start(|config| config.hot_s = 0).await;
    installation.filter("away").await;
    installation.publish(1..=300).await;
    until("all is spilled", async || installation.app.metrics.spilled.get() == 300).await;
    // Through a restart as well.
    let folder = installation.stop().await;
    let installation = Installation::start_in(folder, |config| config.hot_s = 0).await;
    let mut stream = installation.listen("away", "default");
    assert_eq!(waiting(&mut stream).await, (vec![], (1..=300).collect()));
    installation.publish(301..=303).await;
    for n in 301..=303_u64 {
        let StreamItem::Event(delivery) = next(&mut stream).await else { panic!("an event") };
        assert_eq!(delivery.seq, Some(n));
    }
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reconnecting_twice_without_traffic_repeats_nothing() {
    let installation = Installation::start(|_| {}).await;
    installation.filter("user").await;
    installation.publish(1..=20).await;
    let mut first = installation.listen("user", "phone");
    assert_eq!(waiting(&mut first).await.1.len(), 20);
    let cursor = first.cursor();
    first.close().await;
    for _ in 0..2 {
        let options = Options { consumer: Some("phone".into()), cursor: cursor.clone(), ..Options::default() };
        let mut again = installation.client.subscribe("user", options).unwrap();
        let StreamItem::Connected(welcome) = next(&mut again).await else { panic!("a welcome") };
        assert_eq!((welcome.resumed, welcome.next), (Resumed::Exact, 21));
        assert_eq!(waiting(&mut again).await, (vec![], vec![]));
        again.close().await;
    }
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_connection_of_a_consumer_wins() {
    let installation = Installation::start(|_| {}).await;
    installation.filter("user").await;
    let mut older = installation.listen("user", "phone");
    waiting(&mut older).await;
    let mut newer = installation.listen("user", "phone");
    waiting(&mut newer).await;
    let end = loop {
        match tokio::time::timeout(DEADLINE, older.next()).await.expect("the older one is told") {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it is told why"),
        }
    };
    assert!(matches!(end, StreamError::Closed { code: 4509, .. }), "{end}");
    installation.publish(1..=1).await;
    assert!(matches!(next(&mut newer).await, StreamItem::Event(_)));
    installation.stop().await;
}

/// A client resumes by a cursor of its own, so it has to be told that it was moved, and its acks begin anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_an_operator_moves_back_gets_all_of_it_again() {
    let installation = Installation::start(|config| config.session_events_max = 8).await;
    installation.filter("user").await;
    // Another consumer that reads nothing keeps what is moved back to.
    let mut tablet = installation.listen("user", "tablet");
    waiting(&mut tablet).await;
    tablet.close().await;
    installation.publish(1..=30).await;
    let mut phone = installation.listen("user", "phone");
    assert_eq!(waiting(&mut phone).await.1, (1..=30).collect::<Vec<_>>());
    until("all of it is acked", async || {
        let subscriber = installation.client.subscriber("user").await.unwrap().unwrap();
        subscriber.consumers.iter().any(|consumer| consumer.name == "phone" && consumer.acked == 30)
    })
    .await;
    installation.client.reset_subscriber("user", Some("phone"), ResetTo::Seq(10)).await.unwrap();
    loop {
        match next(&mut phone).await {
            StreamItem::Notice { code, .. } => assert_eq!(code, "moved"),
            StreamItem::Disconnected { code, .. } => assert_eq!(code, Some(4004)),
            StreamItem::Connected(welcome) => break assert_eq!(welcome.next, 11),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(waiting(&mut phone).await, (vec![], (11..=30).collect()), "credit comes back, so acks are taken");
    installation.stop().await;
}

/// A subscriber that was deleted and made again has another queue: an old cursor must not hide its first deliveries.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_of_a_deleted_queue_hides_nothing_of_the_new_one() {
    let installation = Installation::start(|_| {}).await;
    installation.filter("user").await;
    installation.publish(1..=20).await;
    let mut before = installation.listen("user", "phone");
    assert_eq!(waiting(&mut before).await.1.len(), 20);
    let cursor = before.cursor();
    before.close().await;
    installation.client.delete_subscriber("user").await.unwrap();
    installation.filter("user").await;
    installation.publish(21..=25).await;
    let options = Options { consumer: Some("phone".into()), cursor, ..Options::default() };
    let mut again = installation.client.subscribe("user", options).unwrap();
    assert_eq!(waiting(&mut again).await, (vec![], (21..=25).collect()));
    installation.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_goes_over_to_live_without_a_hole_or_a_double() {
    let installation = Installation::start(|_| {}).await;
    installation.publish(1..=40).await;
    installation.filter("late").await;
    installation.publish(41..=50).await;
    let options = Options { consumer: Some("phone".into()), since: Some("1h".into()), ..Options::default() };
    let mut stream = installation.client.subscribe("late", options).unwrap();
    let (gaps, numbers) = waiting(&mut stream).await;
    assert_eq!((gaps, numbers), (vec![], (1..=50).collect()));
    installation.publish(51..=52).await;
    for n in 51..=52_u64 {
        let StreamItem::Event(delivery) = next(&mut stream).await else { panic!("an event") };
        assert!(delivery.data.get().contains(&format!("\"n\":{n}")));
    }
    installation.stop().await;
}
