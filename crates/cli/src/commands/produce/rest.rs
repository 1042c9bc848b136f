//! Through `POST /events`: a batch is accepted or refused as a whole, and repeated until its fate is known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use evs_client::api::Problem;
use evs_client::backoff::Backoff;
use evs_client::{Client, Error};

use super::Patience;
use super::sink::Outcome;
use super::source::Record;

pub(super) struct Rest {
    client: Client,
    /// Of this run; with a number it is the idempotency key of a batch.
    run: u64,
    next: AtomicU64,
    /// The server has answered something.
    reached: AtomicBool,
}

impl Rest {
    pub(super) fn new(client: Client) -> Self {
        Self { client, run: rand::random(), next: 0.into(), reached: false.into() }
    }

    pub(super) async fn send(&self, mut batch: Vec<Record>, patience: Patience) -> Outcome {
        let mut outcome = Outcome::default();
        while !batch.is_empty() {
            match self.publish(&batch, patience, &mut outcome).await {
                Ok(accepted) => {
                    outcome.accepted += accepted;
                    break;
                }
                // Nothing of a refused batch was taken: without the culprits the rest can go.
                Err(Error::Problem(problem)) if problem.status < 500 => {
                    let culprits = culprits(&problem, &batch);
                    for (at, record) in std::mem::take(&mut batch).into_iter().enumerate() {
                        match culprits.get(&at) {
                            Some(_) if record.malformed => outcome.refused_as_meant += 1,
                            Some(reason) => outcome.refused.push((record, reason.clone())),
                            None => batch.push(record),
                        }
                    }
                }
                Err(error) => {
                    outcome.failure = Some(error.into());
                    break;
                }
            }
        }
        outcome
    }

    async fn publish(&self, batch: &[Record], patience: Patience, outcome: &mut Outcome) -> Result<u64, Error> {
        let body = body(batch);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let key = format!("{:016x}-{number}", self.run);
        let started = Instant::now();
        let mut backoff = Backoff::default();
        outcome.not_arrived = true;
        loop {
            let answer = self.client.publish(body.clone(), Some(&key)).await;
            if !answer.as_ref().is_err_and(Error::did_not_arrive) {
                outcome.not_arrived = false;
                self.reached.store(true, Ordering::Relaxed);
            }
            match answer {
                Ok(answer) => return Ok(answer.accepted),
                // Whether the server took it is unknown, unless it was never reached; the key makes asking again safe.
                Err(error) if error.is_transient() => {
                    let reached = self.reached.load(Ordering::Relaxed);
                    let give_up_after = if reached { patience.later } else { patience.at_first };
                    let delay = backoff.next_delay(Instant::now(), &mut rand::rng());
                    if started.elapsed() + delay > give_up_after {
                        return Err(error);
                    }
                    outcome.retries += 1;
                    *outcome.retried_for.entry(cause(&error)).or_default() += 1;
                    tokio::time::sleep(delay).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The server's own word where it answered, so that a full disk is not counted as a slow network.
fn cause(error: &Error) -> String {
    match error {
        Error::Problem(problem) if !problem.code.is_empty() => problem.code.clone(),
        Error::Problem(problem) => format!("status_{}", problem.status),
        Error::Timeout { .. } => "timeout".to_owned(),
        _ => "unreachable".to_owned(),
    }
}

/// NDJSON; one record ends with a newline too, so that it cannot be taken for an array.
fn body(batch: &[Record]) -> Bytes {
    let mut body = Vec::with_capacity(batch.iter().map(|record| record.bytes.len() + 1).sum());
    for record in batch {
        body.extend_from_slice(&record.bytes);
        body.push(b'\n');
    }
    body.into()
}

/// Which records the problem names, and why; all of them if it names none.
fn culprits(problem: &Problem, batch: &[Record]) -> BTreeMap<usize, String> {
    let named: BTreeMap<usize, String> = problem
        .errors
        .iter()
        .filter_map(|error| {
            let at = error.pointer.strip_prefix('/')?.split('/').next()?.parse().ok()?;
            (at < batch.len()).then(|| (at, error.detail.clone()))
        })
        .collect();
    if named.is_empty() {
        let reason = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
        return (0..batch.len()).map(|at| (at, reason.clone())).collect();
    }
    named
}

#[cfg(test)]
mod tests {
    use evs_client::api::error::FieldError;

    use super::*;

    #[test]
    fn a_full_disk_is_counted_by_its_own_name() {
        let problem = |status, code: &str| Problem { status, code: code.to_owned(), ..Problem::default() };
        let named = |problem: Problem| cause(&Error::Problem(Box::new(problem)));
        assert_eq!(named(problem(507, "storage_full")), "storage_full");
        assert_eq!(named(problem(503, "")), "status_503");
        let timeout = Error::Timeout { url: String::new(), after: std::time::Duration::ZERO };
        assert_eq!(cause(&timeout), "timeout");
    }

    #[test]
    fn culprits_are_those_that_are_named() {
        let record = Record { bytes: Bytes::from_static(b"{}"), key: 0, line: 1, malformed: false };
        let batch = vec![record; 3];
        let mut problem = Problem { detail: "bad".into(), ..Problem::default() };
        assert_eq!(culprits(&problem, &batch).len(), 3);
        problem.errors.push(FieldError {
            pointer: "/1/amount".into(),
            detail: "not JSON".into(),
            ..FieldError::default()
        });
        assert_eq!(culprits(&problem, &batch), BTreeMap::from([(1, "not JSON".to_owned())]));
        assert_eq!(body(&batch), "{}\n{}\n{}\n");
    }
}
