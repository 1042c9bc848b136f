//! `/stats` shows every process of the installation, whoever is asked.

use std::collections::BTreeMap;

use evs_client::SubscribersQuery;
use evs_client::api::stats::Stats;
use evs_client::api::subscribers::SubscriberState;

use crate::bed::{Bed, client, follow, publish, receive, subscribe, until};

#[tokio::test]
async fn every_instance_is_shown_with_its_role_and_connections() {
    let mut bed = Bed::new().await;
    bed.set("EVS_QUEUE_SHARDS", "2");
    // Both at once, so that a slow start costs its time once.
    let (api, gateway, both) = tokio::join!(bed.start("api"), bed.start("gateway"), bed.start("matcher,gateway"));
    let client = client(&api, &gateway);
    for subscriber in ["reads", "away"] {
        subscribe(&client, subscriber).await;
    }
    let mut deliveries = follow(&client, "reads");
    publish(&client, 0..40).await;
    assert_eq!(receive(&mut deliveries, 40).await, (0..40).collect::<Vec<_>>());

    let names = [api.instance().await, gateway.instance().await, both.instance().await];
    let mut stats = Stats::default();
    until("all instances are shown, and nothing lags", async || {
        stats = client.stats().await.unwrap();
        let seen = stats.instances.iter().map(|it| it.connections).sum::<u64>();
        let is_settled = stats.partitions.iter().all(|it| it.lag == 0) && stats.instances.iter().all(|it| it.healthy);
        stats.instances.len() == 3 && seen == 1 && is_settled
    })
    .await;
    let shown: BTreeMap<&str, (Vec<&str>, u64, bool)> = stats
        .instances
        .iter()
        .map(|it| (&*it.id, (it.roles.iter().map(String::as_str).collect(), it.connections, it.healthy)))
        .collect();
    let wanted = BTreeMap::from([
        (&*names[0], (vec!["api"], 0, true)),
        (&*names[1], (vec!["gateway"], 1, true)),
        (&*names[2], (vec!["gateway", "matcher"], 0, true)),
    ]);
    assert_eq!(shown, wanted, "{:#?}", stats.instances);
    assert_eq!((stats.connections, stats.mode.as_str()), (1, "distributed"));
    assert_eq!(stats.topic.as_deref(), Some(bed.topic()));
    assert!(stats.filter_version >= 2);
    assert!(stats.instances.iter().all(|it| it.filter_version == stats.filter_version), "{:#?}", stats.instances);
    assert_eq!(stats.partitions.iter().map(|it| it.matched).sum::<u64>(), 40, "{:?}", stats.partitions);
    assert_eq!(stats.partitions.len(), 2);
    let epochs: Vec<&str> = stats.shards.iter().map(|it| it.epoch.as_str()).collect();
    assert!(epochs.len() == 2 && epochs.iter().all(|epoch| !epoch.is_empty()), "{epochs:?}");
    until("what the other processes counted is in the sums", async || {
        let stats = client.stats().await.unwrap();
        let counted = (stats.events_in_total, stats.events_matched_total, stats.deliveries_total, stats.index.filters);
        counted == (40, 40, 80, 2) && stats.deliveries_sent_total == 40 && stats.latency.samples > 0
    })
    .await;
    until("who is connected at another process is live", async || {
        let page = client.subscribers(&SubscribersQuery::default()).await.unwrap();
        let mut states: Vec<_> = page.items.iter().map(|it| (&*it.id, it.state, it.connections)).collect();
        states.sort_unstable_by_key(|state| state.0);
        states == [("away", SubscriberState::New, 0), ("reads", SubscriberState::Live, 1)]
    })
    .await;
    until("acks are counted, and only who is away has a queue", async || {
        let shards = client.stats().await.unwrap().shards;
        shards.iter().map(|it| it.depth).sum::<u64>() == 40
    })
    .await;
}

#[tokio::test]
async fn a_process_that_died_is_no_longer_shown() {
    let bed = Bed::new().await;
    let (api, mut gateway) = tokio::join!(bed.start("api"), bed.start("gateway"));
    let client = client(&api, &gateway);
    let shown = async || client.stats().await.unwrap().instances.len();
    until("both are shown", async || shown().await == 2).await;
    let gone = gateway.instance().await;
    gateway.child.kill().await.unwrap();
    until("one is left", async || shown().await == 1).await;
    until("the log tells that it went", async || {
        let log = client.log(None).await.unwrap().items;
        log.iter().any(|it| it.kind == "instance_lost" && it.message == format!("gateway {gone} reports no more"))
    })
    .await;
}

#[tokio::test]
async fn whose_partitions_are_and_how_they_move_is_told() {
    let bed = Bed::new().await;
    let (api, first) = tokio::join!(bed.start("api"), bed.start("matcher"));
    let client = client(&api, &api);
    let mut stats = Stats::default();
    let name = first.instance().await;
    until("the only matcher has both partitions", async || {
        stats = client.stats().await.unwrap();
        owners(&stats) == [Some(&*name), Some(&*name)]
    })
    .await;
    let of = |stats: &Stats, id: &str| stats.instances.iter().find(|it| it.id == id).unwrap().clone();
    let (before, other) = (of(&stats, &name), of(&stats, &api.instance().await));
    assert_eq!((&before.partitions[..], before.rebalances), (&[0, 1][..], 1));
    assert!(before.last_rebalance_ms.unwrap() <= stats.time_ms);
    assert_eq!((&other.partitions[..], other.rebalances, other.last_rebalance_ms), (&[][..], 0, None));

    let mut second = bed.start("matcher").await;
    let newer = second.instance().await;
    until("they share", async || {
        stats = client.stats().await.unwrap();
        let mut owners = owners(&stats);
        owners.sort_unstable();
        let mut wanted = [Some(&*name), Some(&*newer)];
        wanted.sort_unstable();
        owners == wanted && of(&stats, &name).partitions.len() == 1
    })
    .await;
    let after = of(&stats, &name);
    assert!(after.rebalances > before.rebalances && after.last_rebalance_ms > before.last_rebalance_ms, "{after:?}");
    let told = async |wanted: &str| {
        let entries = client.log(None).await.unwrap().items;
        entries.iter().any(|entry| entry.kind == "rebalance" && entry.message.contains(wanted))
    };
    until("the log of the API's process tells of both", async || {
        let wanted = format!("matcher {newer} works on partition {}", of(&stats, &newer).partitions[0]);
        told(&wanted).await && told(&format!("matcher {name} works on partition {}", after.partitions[0])).await
    })
    .await;
    let metrics = crate::bed::http().get(format!("{}/metrics", first.url)).send().await.unwrap().text().await.unwrap();
    let value = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {metrics}"));
        line.split(' ').nth(1).unwrap().parse().unwrap()
    };
    assert!(value("evs_rebalances_total ") >= 2.0 && value("evs_partitions ") >= 1.0, "{metrics}");
    assert_eq!(value("evs_last_rebalance_timestamp_seconds "), (after.last_rebalance_ms.unwrap() / 1000) as f64);

    second.child.kill().await.unwrap();
    until("the first has both again", async || {
        stats = client.stats().await.unwrap();
        owners(&stats) == [Some(&*name), Some(&*name)]
    })
    .await;
    let gone = format!("matcher {newer} reports no more; it worked on partition ");
    until("the log tells who is gone", async || told(&gone).await).await;
}

/// By partition.
fn owners(stats: &Stats) -> Vec<Option<&str>> {
    stats.partitions.iter().map(|partition| partition.owner.as_deref()).collect()
}

#[tokio::test]
async fn the_log_of_every_process_is_in_that_of_the_api() {
    let bed = Bed::new().await;
    let (api, gateway) = tokio::join!(bed.start("api,matcher"), bed.start("gateway"));
    let client = client(&api, &gateway);
    let (own, other) = (api.instance().await, gateway.instance().await);
    subscribe(&client, "reads").await;
    // Connections end at the gateway, which has no `/log`.
    let mut first = follow(&client, "reads");
    publish(&client, 0..1).await;
    assert_eq!(receive(&mut first, 1).await, [0]);
    drop(first);
    until("what happened at either is told once, with its place", async || {
        let entries = client.log(None).await.unwrap().items;
        let count = |instance: &str, kind: &str| {
            entries.iter().filter(|it| it.instance.as_deref() == Some(instance) && it.kind == kind).count()
        };
        let told = [(&own, "started"), (&own, "filter_created"), (&other, "started"), (&other, "disconnected")];
        told.iter().all(|(instance, kind)| count(instance, kind) == 1)
            && entries.windows(2).all(|pair| pair[0].id + 1 == pair[1].id)
    })
    .await;
}

#[tokio::test]
async fn matchers_elsewhere_tell_how_often_a_filter_matched() {
    let bed = Bed::new().await;
    // Each has one of the two partitions.
    let (api, gateway, _other) = tokio::join!(bed.start("api"), bed.start("gateway,matcher"), bed.start("matcher"));
    let client = client(&api, &gateway);
    subscribe(&client, "reads").await;
    subscribe(&client, "away").await;
    publish(&client, 0..40).await;
    until("the counts of both matchers are summed", async || {
        let filters = client.filters(None, Some(10), None).await.unwrap().items;
        filters.len() == 2
            && filters.iter().all(|filter| filter.activity.is_some_and(|activity| activity.matched_total == 40))
    })
    .await;
}
