//! A simulation of the delivery path: the real matcher, keeper, reader and gateway over the in-memory stores, in one
//! thread, while seeded faults happen to the stores and to the nodes. The checker knows only what was sent and what
//! arrived.
//!
//! Some worlds in the test; more of them with `EVS_SIMULATION_SEED` and `EVS_SIMULATION_WORLDS`. Taking one of the
//! rules away on purpose must make it fail, which the other tests show.

mod application;
#[path = "../crash/checker.rs"]
mod checker;
mod faulty;
mod world;

use std::fmt::Write as _;

use faulty::Mutation;
use world::{Outcome, World};

/// Worlds that run side by side: each mostly waits.
const SIDE_BY_SIDE: u64 = 16;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn run(first: u64, worlds: u64, mutation: Option<Mutation>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for from in (first..first + worlds).step_by(SIDE_BY_SIDE as usize) {
        let upto = (from + SIDE_BY_SIDE).min(first + worlds);
        outcomes.extend(futures_util::future::join_all((from..upto).map(|seed| World::run(seed, mutation))).await);
    }
    outcomes
}

fn summary(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes.iter().filter(|outcome| !outcome.verdict.is_clean()) {
        let _ = writeln!(text, "seed {}: {:?}\n  {}", outcome.seed, outcome.verdict, outcome.story.join("\n  "));
    }
    text
}

#[tokio::test]
async fn nothing_is_lost_doubled_or_disordered_whatever_happens() {
    let outcomes = run(number("EVS_SIMULATION_SEED", 1), number("EVS_SIMULATION_WORLDS", 16), None).await;
    let delivered: u64 = outcomes.iter().map(|outcome| outcome.verdict.delivered).sum();
    let counts = outcomes.iter().fold(faulty::Counts::default(), |sum, outcome| sum + outcome.counts);
    println!("{} worlds, {delivered} deliveries, {counts:?}", outcomes.len());
    let bad = summary(&outcomes);
    assert!(bad.is_empty(), "{bad}");
    // A campaign in which the interesting things did not happen proves nothing.
    assert!(counts.fenced > 0 && counts.already_applied > 0 && counts.other_epoch > 0, "{counts:?}");
}

async fn must_fail(mutation: Mutation) {
    // Rare interleavings need several worlds; one failure is proof.
    for first in (1_000..1_096).step_by(16) {
        let outcomes = run(first, 16, Some(mutation)).await;
        if outcomes.iter().any(|outcome| !outcome.verdict.is_clean()) {
            return;
        }
    }
    panic!("the checker did not notice {mutation:?}");
}

#[tokio::test]
async fn without_the_fence_it_fails() {
    must_fail(Mutation::NoFence).await;
}

#[tokio::test]
async fn without_the_epoch_check_it_fails() {
    must_fail(Mutation::NoEpochCheck).await;
}

#[tokio::test]
async fn without_the_floor_it_fails() {
    must_fail(Mutation::NoFloor).await;
}
