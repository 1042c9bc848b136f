//! Server-sent events, and REST answers that are not as they should be.

use evs_client::{Error, Feed, FeedEvent};
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use crate::peer::{Server, soon};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

#[tokio::test]
async fn the_log_resumes_after_the_last_entry() {
    let (server, client) = Server::start().await;
    let mut feed = client.log_stream(Some(3));
    let answering = async {
        let entry = r#"{"id":4,"time_ms":1,"level":"warn","kind":"gap","message":"m"}"#;
        let (line, socket) = server.answer(&format!("{HEAD}: hello\n\nevent: log\nid: 4\ndata: {entry}\n\n")).await;
        assert_eq!(line, "GET /log/stream?after=3 HTTP/1.1");
        drop(socket);
        let (line, socket) = server.answer(HEAD).await;
        assert_eq!(line, "GET /log/stream?after=4 HTTP/1.1");
        socket
    };
    let reading = async {
        assert!(matches!(feed.next().await, Some(Ok(Feed::Connected))));
        match feed.next().await {
            Some(Ok(Feed::Item(entry))) => assert_eq!((entry.id, entry.kind.as_str()), (4, "gap")),
            other => panic!("{other:?}"),
        }
        assert!(matches!(feed.next().await, Some(Ok(Feed::Disconnected { .. }))));
        assert!(matches!(feed.next().await, Some(Ok(Feed::Connected))));
    };
    soon(async { tokio::join!(answering, reading) }).await;
}

#[tokio::test]
async fn events_that_come_again_after_a_reconnect_are_dropped() {
    let (server, client) = Server::start().await;
    let mut feed = client.events_stream(Some("a > 1".into()), None);
    let event = |position: &str| {
        format!(
            "event: event\nid: {position}\ndata: {{\"position\":\"{position}\",\"time_ms\":1500,\"data\":{{\"a\":2}}}}\n\n"
        )
    };
    let answering = async {
        let (line, mut socket) = server.answer(&format!("{HEAD}{}", event("0:5"))).await;
        assert_eq!(line, "GET /events/stream?where=a+%3E+1 HTTP/1.1");
        socket.write_all(event("1:2").as_bytes()).await.unwrap();
        drop(socket);
        let text = format!("{HEAD}{}{}event: caught_up\ndata: {{}}\n\n", event("1:2"), event("0:6"));
        let (line, socket) = server.answer(&text).await;
        assert_eq!(line, "GET /events/stream?where=a+%3E+1&since=1970-01-01T00%3A00%3A01.5Z HTTP/1.1");
        socket
    };
    let reading = async {
        let mut positions = Vec::new();
        loop {
            match feed.next().await {
                Some(Ok(Feed::Item(FeedEvent::Event(event)))) => positions.push(event.position),
                Some(Ok(Feed::Item(FeedEvent::CaughtUp))) => break,
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(positions, ["0:5", "1:2", "0:6"]);
    };
    soon(async { tokio::join!(answering, reading) }).await;
}

#[tokio::test]
async fn a_refused_feed_ends() {
    let (server, client) = Server::start().await;
    let mut feed = client.stats_stream();
    let (_, answered) =
        tokio::join!(server.answer("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"), soon(feed.next()));
    assert!(matches!(answered, Some(Err(Error::Unauthorized(_)))));
    assert!(soon(feed.next()).await.is_none());
}

#[tokio::test]
async fn another_program_is_recognized() {
    let (server, client) = Server::start().await;
    let (_, answered) =
        tokio::join!(server.answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"), soon(client.stats()));
    match answered {
        Err(Error::Protocol { detail, .. }) => assert!(detail.ends_with("in \"hello\""), "{detail}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let (server, client) = Server::start().await;
    drop(server);
    match soon(client.stats()).await {
        Err(error @ Error::Unreachable { .. }) => assert!(error.is_transient()),
        other => panic!("{other:?}"),
    }
}
