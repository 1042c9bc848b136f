//! Idempotency keys over kills: whoever gets no answer sends again with the same key, and what the killed server had
//! stored is not stored twice.

use evs_client::{Client, Error, EventsQuery};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Campaign, DEADLINE, Lab};

const ROUNDS: u64 = 8;
const BATCH: u64 = 40;

fn batch(round: u64) -> String {
    let lines: Vec<String> = (0..BATCH).map(|n| format!("{{\"round\":{round},\"n\":{n}}}")).collect();
    lines.join("\n")
}

/// Sends the request by hand and leaves without the answer.
async fn send_and_leave(client: &Client, key: &str, body: &str) -> TcpStream {
    let url = &client.config().server_url;
    let address = (url.host_str().unwrap(), url.port().unwrap());
    let mut socket = TcpStream::connect(address).await.unwrap();
    let len = body.len();
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: x\r\nidempotency-key: {key}\r\n\
         content-type: application/x-ndjson\r\ncontent-length: {len}\r\n\r\n"
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    socket
}

/// How many events of the round the log has.
async fn stored(client: &Client, round: u64) -> usize {
    let query = EventsQuery {
        since: Some("beginning".into()),
        where_: Some(format!("round == {round}")),
        limit: Some(1_000),
        ..EventsQuery::default()
    };
    client.events(&query).await.unwrap().items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_was_lost_with_the_server_is_stored_once() {
    let server = env!("CARGO_BIN_EXE_evs-server").into();
    let lab = Lab::new(Campaign { server, seed: 7, kills: 0, events_per_life_max: 0, verbose: false }).unwrap();
    let mut dice = StdRng::seed_from_u64(7);
    let mut server = lab.start_server().await.unwrap();
    let client = lab.client.clone();
    let mut survived = 0;
    for round in 0..ROUNDS {
        let (key, body) = (format!("round-{round}"), batch(round));
        let socket = send_and_leave(&client, &key, &body).await;
        let after_commit = round % 2 == 0;
        if after_commit {
            // Killed after the commit and before anybody has read the answer.
            let started = std::time::Instant::now();
            while stored(&client, round).await == 0 {
                assert!(started.elapsed() < DEADLINE, "the batch of round {round} never came into the log");
            }
        } else {
            // Killed somewhere between the request's arrival and its answer.
            for _ in 0..dice.random_range(0..2_000) {
                tokio::task::yield_now().await;
            }
        }
        server.start_kill().unwrap();
        server.wait().await.unwrap();
        drop(socket);
        server = lab.start_server().await.unwrap();

        let before = stored(&client, round).await as u64;
        assert!(before == BATCH || (before == 0 && !after_commit), "all or nothing, but {before} in round {round}");
        survived += u64::from(before == BATCH);
        let answer = client.publish(body.clone(), Some(&key)).await.unwrap();
        assert_eq!((answer.accepted, stored(&client, round).await as u64), (BATCH, BATCH), "round {round}");
        // And once more, with the answer of the first time.
        assert_eq!(client.publish(body, Some(&key)).await.unwrap().positions, answer.positions);
        assert_eq!(stored(&client, round).await as u64, BATCH);
    }
    assert!(survived >= ROUNDS / 2);
    // The key is bound to its body over a restart too.
    let Err(Error::Problem(problem)) = client.publish(batch(99), Some("round-0")).await else {
        panic!("another body with a used key is refused")
    };
    assert_eq!(problem.code, "idempotency_key_reused");
    server.start_kill().unwrap();
    server.wait().await.unwrap();
}
