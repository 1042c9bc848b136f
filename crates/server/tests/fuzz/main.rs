//! Strange input against a whole server: some of it in every test run, an hour of it by `examples/fuzz.rs`.

mod campaign;
mod mutate;
mod rest;
mod wire;

use std::time::Duration;

use campaign::{Campaign, run};

#[tokio::test(flavor = "multi_thread")]
async fn no_panic_no_5xx_and_nothing_undocumented() {
    let campaign = Campaign { seed: 1, steps_max: 3_000, time_max: Duration::from_secs(600), verbose: false };
    let report = run(campaign).await.unwrap();
    assert!(report.findings.is_empty(), "{report}");
    // It was heard, and understood at least in part.
    for answer in ["200", "201", "202", "400", "404", "422", "close-1000"] {
        assert!(report.answers.contains_key(answer), "no {answer} in {report}");
    }
}
