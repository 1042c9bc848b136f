//! The promise, from outside: a server that is killed at random moments loses nothing and doubles nothing.

mod harness;
mod keys;
mod stopping;

use harness::{Campaign, run};

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_double_nothing() {
    let campaign = Campaign {
        server: env!("CARGO_BIN_EXE_evs-server").into(),
        seed: 7,
        kills: 6,
        events_per_life_max: 600,
        verbose: false,
    };
    let report = run(campaign).await.unwrap();
    assert!(report.verdict.is_clean(), "{report}");
    assert!(report.acknowledged > 0 && report.reconnects > 0, "nothing was tested: {report}");
}
