//! Subscriptions.

use std::time::Duration;

use base64::Engine as _;
use evs_client::api::frames::{Gap, GapReason};
use evs_client::{Ack, Client, Error, From, Options, StreamError, StreamItem, Token};

use crate::peer::{Server, cursor, next, next_seq, soon};

fn manual() -> Options {
    Options::default()
}

fn observer() -> Options {
    Options { observe: true, ..Options::default() }
}

#[tokio::test]
async fn a_lost_connection_resumes_after_the_last_delivery_and_repeats_nothing() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", observer()).unwrap();
    let mut peer = server.accept().await;
    assert_eq!(peer.uri, "/ws/user_1?observe=true");
    peer.welcome(1, "new").await;
    peer.checkpoint(0).await;
    peer.event(1).await;
    peer.event(2).await;
    assert_eq!((next_seq(&mut stream).await, next_seq(&mut stream).await), (1, 2));
    drop(peer);

    let mut peer = server.accept().await;
    assert_eq!(peer.cursor(), Some(cursor(2)));
    // A server may go back further than it was asked to.
    peer.welcome(1, "exact").await;
    peer.event(1).await;
    peer.event(2).await;
    peer.event(3).await;
    assert_eq!(next_seq(&mut stream).await, 3);
    assert_eq!(stream.cursor(), Some(cursor(3).to_string()));
}

#[tokio::test]
async fn the_cursor_is_of_what_the_program_has_taken_not_of_what_has_arrived() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", Options { cursor: Some(cursor(4).to_string()), ..manual() }).unwrap();
    let mut peer = server.accept().await;
    assert_eq!(peer.cursor(), Some(cursor(4)));
    peer.welcome(5, "exact").await;
    for seq in 5..=7 {
        peer.event(seq).await;
    }
    peer.checkpoint(7).await;
    peer.event(8).await;
    assert_eq!(next_seq(&mut stream).await, 5);
    assert_eq!(stream.cursor(), Some(cursor(5).to_string()));
    assert_eq!((next_seq(&mut stream).await, next_seq(&mut stream).await), (6, 7));
    assert_eq!(next_seq(&mut stream).await, 8);
    assert_eq!(stream.cursor(), Some(cursor(8).to_string()));
}

#[tokio::test]
async fn an_observer_without_a_checkpoint_begins_at_the_earliest_and_drops_what_it_saw() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", Options { from: From::Latest, ..observer() }).unwrap();
    let mut peer = server.accept().await;
    assert_eq!(peer.uri, "/ws/user_1?observe=true&from=latest");
    peer.welcome(7, "latest").await;
    peer.event(7).await;
    assert_eq!(next_seq(&mut stream).await, 7);
    drop(peer);

    let mut peer = server.accept().await;
    assert_eq!(peer.uri, "/ws/user_1?observe=true&from=earliest");
    peer.welcome(6, "exact").await;
    for seq in 6..=8 {
        peer.event(seq).await;
    }
    assert_eq!(next_seq(&mut stream).await, 8);
}

#[tokio::test]
async fn acks_are_few_and_the_last_one_is_sent_before_closing() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", manual()).unwrap();
    let mut peer = server.accept().await;
    peer.welcome(1, "new").await;
    for seq in 1..=200 {
        peer.event(seq).await;
    }
    for _ in 0..200 {
        loop {
            if let StreamItem::Event(delivery) = next(&mut stream).await.unwrap() {
                stream.ack(&delivery);
                break;
            }
        }
    }
    let closing = tokio::spawn(stream.close());
    let mut acks = Vec::new();
    while let Some(text) = peer.hear().await {
        acks.push(text);
    }
    assert_eq!(acks.last().map(String::as_str), Some(r#"{"t":"ack","seq":200}"#));
    assert!(acks.len() <= 20, "{} acks for 200 deliveries", acks.len());
    soon(closing).await.unwrap();
}

#[tokio::test]
async fn with_automatic_acks_a_delivery_is_acked_when_the_next_is_asked_for() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", Options { ack: Ack::OnDelivery, ..manual() }).unwrap();
    let mut peer = server.accept().await;
    peer.welcome(1, "new").await;
    peer.event(1).await;
    peer.event(2).await;
    assert_eq!(next_seq(&mut stream).await, 1);
    // Asks for the second, and so acks the first.
    assert_eq!(next_seq(&mut stream).await, 2);
    assert_eq!(peer.hear().await.as_deref(), Some(r#"{"t":"ack","seq":1}"#));
    // An ack that was lost with its connection is sent again.
    drop(peer);
    let mut peer = server.accept().await;
    peer.welcome(1, "exact").await;
    assert_eq!(peer.hear().await.as_deref(), Some(r#"{"t":"ack","seq":1}"#));
    drop(stream);
    assert_eq!(peer.hear().await, None);
}

#[tokio::test]
async fn acks_of_an_older_epoch_are_not_sent() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", manual()).unwrap();
    let mut peer = server.accept().await;
    peer.welcome(500, "exact").await;
    peer.event(500).await;
    let old = loop {
        if let StreamItem::Event(delivery) = next(&mut stream).await.unwrap() {
            break delivery;
        }
    };
    drop(peer);
    let mut peer = server.accept().await;
    let welcome = r#"{"t":"welcome","subscriber":"user_1","consumer":"default","epoch":"00000000000000bb","next":1,"top":1,"resumed":"new_epoch","window_events":256,"window_bytes":1048576,"ping_s":25,"server":"test"}"#;
    peer.send(welcome).await;
    peer.event(1).await;
    assert_eq!(next_seq(&mut stream).await, 1);
    stream.ack(&old);
    stream.close().await;
    assert_eq!(peer.hear().await, None);
}

#[tokio::test]
async fn a_hole_is_filled_by_resuming_and_told_if_it_cannot_be() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", manual()).unwrap();
    let mut peer = server.accept().await;
    peer.welcome(1, "new").await;
    peer.event(1).await;
    peer.event(4).await;
    assert_eq!(next_seq(&mut stream).await, 1);
    while peer.hear().await.is_some() {}

    let mut peer = server.accept().await;
    peer.welcome(2, "exact").await;
    peer.event(2).await;
    peer.event(4).await;
    assert_eq!(next_seq(&mut stream).await, 2);
    while peer.hear().await.is_some() {}

    let mut peer = server.accept().await;
    peer.welcome(3, "exact").await;
    peer.event(4).await;
    let gap = loop {
        match next(&mut stream).await.unwrap() {
            StreamItem::Gap(gap) => break gap,
            StreamItem::Event(delivery) => panic!("{delivery:?} before the gap"),
            _ => {}
        }
    };
    assert_eq!(gap, Gap { from: 3, to: Some(3), reason: GapReason::DataLoss });
    assert_eq!(next_seq(&mut stream).await, 4);
}

#[tokio::test]
async fn close_codes_say_whether_to_come_back() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", manual()).unwrap();
    let mut peer = server.accept().await;
    peer.welcome(1, "new").await;
    assert!(matches!(next(&mut stream).await, Ok(StreamItem::Connected(_))));
    peer.close(4004, "resume").await;
    match next(&mut stream).await {
        Ok(StreamItem::Disconnected { reason, code: Some(4004), .. }) => {
            assert_eq!(reason, "the queue changed; resuming")
        }
        other => panic!("{other:?}"),
    }
    let mut peer = server.accept().await;
    peer.welcome(1, "exact").await;
    assert!(matches!(next(&mut stream).await, Ok(StreamItem::Connected(_))));
    peer.close(4509, "superseded").await;
    match next(&mut stream).await {
        Err(StreamError::Closed { code: 4509, reason, explanation }) => {
            assert_eq!(reason, "superseded");
            assert!(explanation.contains("a newer connection of the same consumer"));
        }
        other => panic!("{other:?}"),
    }
    assert!(soon(stream.next()).await.is_none());
}

#[tokio::test]
async fn a_draining_server_is_left_within_its_time() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", manual()).unwrap();
    let mut peer = server.accept().await;
    peer.welcome(1, "new").await;
    peer.send(r#"{"t":"draining","reconnect_within_ms":50}"#).await;
    assert!(matches!(next(&mut stream).await, Ok(StreamItem::Connected(_))));
    while peer.hear().await.is_some() {}
    match next(&mut stream).await {
        Ok(StreamItem::Disconnected { retry_in, .. }) => assert_eq!(retry_in, Duration::ZERO),
        other => panic!("{other:?}"),
    }
    server.accept().await;
}

#[tokio::test]
async fn a_silent_server_is_left() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", manual()).unwrap();
    let mut peer = server.accept().await;
    peer.welcome_with(1, "new", 1).await;
    assert!(matches!(next(&mut stream).await, Ok(StreamItem::Connected(_))));
    match next(&mut stream).await {
        Ok(StreamItem::Disconnected { reason, .. }) => assert_eq!(reason, "nothing was heard for 2s"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_slow_program_gets_everything() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", observer()).unwrap();
    let sending = tokio::spawn(async move {
        let mut peer = server.accept().await;
        peer.welcome(1, "new").await;
        for seq in 1..=5_000 {
            peer.event(seq).await;
        }
        peer
    });
    for seq in 1..=5_000 {
        assert_eq!(next_seq(&mut stream).await, seq);
    }
    soon(sending).await.unwrap();
}

#[tokio::test]
async fn a_refusal_before_the_upgrade_is_the_servers_own_problem() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("nobody", manual()).unwrap();
    let body = r#"{"type":"/problems/not_found","title":"Not found","status":404,"detail":"no subscriber nobody","code":"not_found"}"#;
    let head = format!(
        "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let (line, _socket) = server.answer(&format!("{head}{body}")).await;
    assert_eq!(line, "GET /ws/nobody HTTP/1.1");
    match next(&mut stream).await {
        Err(StreamError::Refused(Error::Problem(problem))) => {
            assert_eq!((problem.status, problem.code.as_str()), (404, "not_found"))
        }
        other => panic!("{other:?}"),
    }
    assert!(soon(stream.next()).await.is_none());
}

#[tokio::test]
async fn a_busy_server_is_asked_again_after_the_time_it_names() {
    let (server, client) = Server::start().await;
    let mut stream = client.subscribe("user_1", manual()).unwrap();
    server.answer("HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n").await;
    match next(&mut stream).await {
        Ok(StreamItem::Disconnected { retry_in, .. }) => {
            assert!((Duration::from_secs(1)..=Duration::from_millis(1_500)).contains(&retry_in), "{retry_in:?}");
        }
        other => panic!("{other:?}"),
    }
    server.accept().await.welcome(1, "new").await;
    assert!(matches!(next(&mut stream).await, Ok(StreamItem::Connected(_))));
}

#[tokio::test]
async fn observing_and_acking_exclude_each_other() {
    let (_server, client) = Server::start().await;
    let both = Options { ack: Ack::OnDelivery, ..observer() };
    assert!(matches!(client.subscribe("user_1", both), Err(Error::Config(_))));
}

/// A token that its file has renewed goes over the open connection before the old one ends.
#[tokio::test]
async fn a_new_token_is_brought_before_the_old_one_ends() {
    let token = |exp_s: u64| {
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp_s}}}"));
        format!("e30.{claims}.sig")
    };
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, token(now_s + 1)).unwrap();
    let (server, client) = Server::start().await;
    let client = Client::new(client.config().clone().with_token(Token::File(file.clone()))).unwrap();
    let mut stream = client.subscribe("user_1", Options::default()).unwrap();
    let mut peer = server.accept().await;
    peer.welcome(1, "new").await;
    assert!(matches!(next(&mut stream).await, Ok(StreamItem::Connected(_))));
    std::fs::write(&file, token(now_s + 3600)).unwrap();
    let frame: serde_json::Value = serde_json::from_str(&peer.hear().await.unwrap()).unwrap();
    assert_eq!(frame, serde_json::json!({ "t": "refresh", "token": token(now_s + 3600) }));
    peer.event(1).await;
    assert_eq!(next_seq(&mut stream).await, 1, "and the connection goes on");
}
