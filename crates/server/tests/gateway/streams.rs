//! Server-sent events.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bed::{Bed, DEADLINE, until};

struct Stream(BufReader<TcpStream>);

impl Stream {
    async fn open(bed: &Bed, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(bed.addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(DEADLINE, self.0.read_line(&mut line)).await.expect("a line in time").unwrap();
        line.trim_end().to_owned()
    }

    /// The next field of that name.
    async fn field(&mut self, name: &str) -> String {
        loop {
            let line = self.line().await;
            if let Some(value) = line.strip_prefix(name) {
                return value.trim_start_matches(": ").to_owned();
            }
        }
    }

    async fn event(&mut self) -> (String, String) {
        loop {
            if self.field("event").await == "event" {
                return (self.field("id").await, self.field("data").await);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_resumes_by_its_last_id() {
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    bed.deliver(&[&user], 2).await;
    let mut stream = Stream::open(&bed, "/sse/user_1?observe=true&from=earliest", "").await;
    assert_eq!(stream.line().await, "HTTP/1.1 200 OK");
    assert_eq!(stream.field("retry").await, "1000");
    let (first, data) = stream.event().await;
    assert_eq!(
        data,
        format!(r#"{{"t":"event","seq":1,"position":"0:0","filters":[{}],"data":{{"n":0,"pad":""}}}}"#, user.id)
    );
    assert!(stream.event().await.1.contains("\"seq\":2"));
    assert_eq!(stream.field("event").await, "caught_up");
    bed.deliver(&[&user], 1).await;
    assert!(stream.event().await.1.contains("\"seq\":3"));
    drop(stream);
    let mut stream = Stream::open(&bed, "/sse/user_1?observe=true", &format!("Last-Event-ID: {first}\r\n")).await;
    assert!(stream.event().await.1.contains("\"seq\":2"));
    assert!(stream.event().await.1.contains("\"seq\":3"));
    drop(stream);
    // None was received yet: the address counts.
    let address = format!("/sse/user_1?observe=true&cursor={first}");
    for header in ["Last-Event-ID:\r\n", ""] {
        let mut stream = Stream::open(&bed, &address, header).await;
        assert!(stream.event().await.1.contains("\"seq\":2"), "{header:?}");
    }
    let mut stream = Stream::open(&bed, "/sse/user_1?cursor=abc", "Last-Event-ID: \r\n").await;
    assert_eq!(stream.line().await, "HTTP/1.1 400 Bad Request");
    assert_eq!(bed.acked(&user).await, 0);
    drop(stream);
    until("it is gone", async || bed.app.readers.attached().connections() == 0).await;
    let mut stream = Stream::open(&bed, "/sse/user_1", "").await;
    assert!(stream.event().await.1.contains("\"seq\":1"));
    bed.acked_is(&user, 3).await;
}
