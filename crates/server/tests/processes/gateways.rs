//! A consumer that moves from one gateway process to another.

use evs_client::{Options, StreamError, StreamItem};

use crate::bed::{Bed, DEADLINE, client, follow, publish, receive, subscribe};

#[tokio::test]
async fn the_newest_connection_wins_at_whichever_gateway_it_is() {
    let bed = Bed::new().await;
    let (api, here, there) = tokio::join!(bed.start("api"), bed.start("gateway,matcher"), bed.start("gateway"));
    let (first, second) = (client(&api, &here), client(&api, &there));
    subscribe(&first, "reads").await;
    let mut older = follow(&first, "reads");
    let mut tablet =
        first.subscribe("reads", Options { consumer: Some("tablet".into()), ..Options::default() }).unwrap();
    publish(&first, 0..20).await;
    assert_eq!(receive(&mut older, 20).await, (0..20).collect::<Vec<_>>());
    assert_eq!(receive(&mut tablet, 20).await, (0..20).collect::<Vec<_>>());

    let mut newer = follow(&second, "reads");
    assert!(matches!(newer.next().await, Some(Ok(StreamItem::Connected(_)))));
    let told = tokio::time::timeout(DEADLINE, async {
        loop {
            match older.next().await {
                Some(Err(StreamError::Closed { code, .. })) => break code,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(told.await.expect("the older connection is told"), 4509);
    publish(&first, 20..30).await;
    // What the older one had acked a moment ago may not have been stored, and comes again first.
    let mut numbers = Vec::new();
    while numbers.len() < 10 {
        numbers.extend(receive(&mut newer, 1).await.into_iter().filter(|n| *n >= 20));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (20..30).collect::<Vec<_>>());
    assert_eq!(receive(&mut tablet, 10).await, (20..30).collect::<Vec<_>>(), "another consumer stays where it is");
}
