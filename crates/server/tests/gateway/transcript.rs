//! docs/PROTOCOL.md says what really happens.

use tokio_tungstenite::tungstenite::Message;

use crate::bed::{Bed, Client};

/// What differs from run to run, by the word that stands for it.
#[derive(Default)]
struct Words(Vec<(&'static str, String)>);

impl Words {
    fn put_in(&self, line: &str) -> String {
        self.0.iter().fold(line.to_owned(), |line, (word, value)| line.replace(word, value))
    }

    fn take_out(&mut self, text: &str) -> String {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        for (word, field) in [("EPOCH", "epoch"), ("CURSOR", "cursor")] {
            if let Some(value) = value[field].as_str() {
                self.0.retain(|(known, _)| *known != word);
                self.0.push((word, value.to_owned()));
            }
        }
        self.0.iter().fold(text.to_owned(), |text, (word, value)| text.replace(value, word))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_transcript_happens() {
    let text = include_str!("../../../../docs/PROTOCOL.md");
    let transcript = text.split("```transcript\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let mut bed = Bed::start().await;
    let user = bed.subscriber("user_1").await;
    let (mut words, mut clients): (Words, Vec<Client>) = (Words::default(), Vec::new());
    for line in transcript.lines() {
        let (kind, rest) = line.split_at(2);
        match (kind, rest.split_once(' ')) {
            ("# ", Some(("connect", path))) => {
                let client = bed.connect(&words.put_in(path)).await;
                // The older one is the one that something is told to.
                clients.push(client);
                if clients.len() > 1 {
                    clients.swap(0, 1);
                }
            }
            ("# ", Some(("deliver", count))) => bed.deliver(&[&user], count.parse().unwrap()).await,
            ("# ", None) if rest == "disconnect" => drop(clients.pop()),
            ("> ", _) => clients.last_mut().unwrap().text(rest).await,
            ("< ", Some(("close", expect))) => {
                let (code, reason) = clients.last_mut().unwrap().closed().await;
                assert_eq!(format!("{code} {reason}"), expect);
            }
            ("< ", _) => {
                let Message::Text(text) = clients.last_mut().unwrap().message().await else { panic!("{line}") };
                assert_eq!(words.take_out(&text), rest);
            }
            other => panic!("{other:?} is no line of a transcript"),
        }
    }
}
