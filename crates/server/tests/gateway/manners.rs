//! Bad frames, lost and doubled clients, and a server that stops.

use evs_api::frames::{ClientFrame, ServerFrame};
use evs_server::config::Config;
use evs_server::ports::DeliveryQueue;
use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::bed::{Bed, DEADLINE, SHARD, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_connection_of_a_consumer_wins() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    let mut older = bed.connect("/ws/user_1?consumer=phone").await;
    older.welcome().await;
    let mut tablet = bed.connect("/ws/user_1?consumer=tablet").await;
    tablet.welcome().await;
    tablet.frame().await;
    let mut newer = bed.connect("/ws/user_1?consumer=phone").await;
    newer.welcome().await;
    assert_eq!(older.closed().await, (4509, "superseded".into()));
    bed.deliver(&[&user], 1).await;
    assert_eq!(newer.seqs(1).await, [1]);
    assert_eq!(tablet.seqs(1).await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_frames_are_told_and_then_too_many() {
    let bed = Bed::start().await;
    bed.subscriber("user_1").await;
    let code = |frame| match frame {
        ServerFrame::Error { code, .. } => code,
        other => panic!("{other:?} is no error"),
    };
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    client.frame().await;
    for _ in 0..12 {
        client.text(r#"{"t":"from_the_future","x":1}"#).await;
        assert_eq!(code(client.frame().await), "bad_request");
    }
    client.say(&ClientFrame::Ping { n: Some(1) }).await;
    assert!(matches!(client.frame().await, ServerFrame::Pong { n: Some(1) }));
    for _ in 0..10 {
        client.text("{nonsense").await;
        assert_eq!(code(client.frame().await), "bad_request");
    }
    assert_eq!(client.closed().await, (4500, "bad_request".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_out_of_bounds_close_by_the_standard() {
    let bed = Bed::start().await;
    bed.subscriber("user_1").await;
    for (message, code) in [(Message::text("x".repeat(17_000)), 1009), (Message::binary(vec![1, 2, 3]), 1003)] {
        let mut client = bed.connect("/ws/user_1").await;
        client.welcome().await;
        client.socket.send(message).await.unwrap();
        assert_eq!(client.closed().await.0, code);
    }
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    client.frame().await;
    client.socket.send(Message::Ping(vec![7].into())).await.unwrap();
    assert_eq!(client.message().await, Message::Pong(vec![7].into()));
    client.socket.close(None).await.unwrap();
    let gone = || bed.app.readers.attached().connections() == 0;
    until("all connections are gone", async || gone()).await;
    assert_eq!(bed.app.metrics.connections.get(), 0);
    assert_eq!(bed.app.metrics.connections_behind.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_acks_nothing_for_too_long_is_slow() {
    let config = Config { session_events_max: 2, ack_timeout_s: 1, ..Config::default() };
    let mut bed = Bed::with(config).await;
    let user = bed.subscriber("user_1").await;
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    bed.deliver(&[&user], 3).await;
    client.seqs(2).await;
    assert_eq!(client.closed().await, (4002, "slow".into()));
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    assert_eq!(client.seqs(2).await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_subscriber_is_told_to_stop() {
    let bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    bed.app.filters.delete_subscriber(&user.subscriber).await.unwrap();
    bed.queue.remove(SHARD, user.slot).await.unwrap();
    assert_eq!(client.closed().await, (4504, "not_found".into()));
    assert_eq!(bed.try_connect("/ws/user_1", true).await.err(), Some((404, "unknown_subscriber".into())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_server_says_so_and_stores_the_acks() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 3).await;
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    client.seqs(3).await;
    client.frame().await;
    client.say(&ClientFrame::Ack { seq: 2, n: Some(1) }).await;
    client.frame().await;
    bed.app.shutdown.cancel();
    assert!(matches!(client.frame().await, ServerFrame::Draining { .. }));
    assert_eq!(client.closed().await, (1001, "going_away".into()));
    drop(client);
    let queue = bed.stop().await;
    assert_eq!(queue.acked(SHARD, &[user.slot]).await.unwrap()[0].0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_answer_does_not_hold_a_stop_up() {
    let bed = Bed::with(Config { drain_s: 1, ..Config::default() }).await;
    bed.subscriber("user_1").await;
    let mut client = bed.listen("/ws/user_1").await;
    client.welcome().await;
    // Neither is one that has not even sent a request.
    let _silent = TcpStream::connect(bed.addr).await.unwrap();
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plain_requests_are_answered() {
    let bed = Bed::with(Config { connections_max: 1, ..Config::default() }).await;
    bed.subscriber("user_1").await;
    let ask = async |request: &str| {
        let mut stream = TcpStream::connect(bed.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
        text
    };
    let get = async |path: &str| ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
    until("it is ready", async || get("/readyz").await.starts_with("HTTP/1.1 200")).await;
    assert!(get("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get("/metrics").await.contains("evs_connections 0"));
    assert!(get("/ws/user_1").await.starts_with("HTTP/1.1 426"));
    let of_a_proxy = "GET /ws/user_1 HTTP/1.0\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let refused = ask(of_a_proxy).await;
    assert!(refused.starts_with("HTTP/1.0 426") && refused.contains("proxy_http_version 1.1"), "{refused}");
    assert!(get("/").await.starts_with("HTTP/1.1 200"), "the page");
    assert!(get("/nothing").await.starts_with("HTTP/1.1 404"));
    assert!(get("/sse/nobody").await.starts_with("HTTP/1.1 404"));
    let mut client = bed.connect("/ws/user_1").await;
    client.welcome().await;
    let refused = bed.try_connect("/ws/user_1?observe=true", true).await;
    assert_eq!(refused.err(), Some((503, "connection_limit".into())));
}
