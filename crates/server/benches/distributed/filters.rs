//! A bulk of a million filters into PostgreSQL, and until a matcher has them all.

use std::fmt::Write as _;

use tokio::time::Instant;

use crate::Scale;
use crate::services::Installation;

const LINES: u64 = 50_000;

pub(crate) async fn run(scale: Scale) {
    let filters = scale.of(1_000_000);
    let installation = Installation::start(1).await;
    let started = Instant::now();
    let mut next = 0;
    while next < filters {
        let mut lines = String::new();
        for number in next..(next + LINES).min(filters) {
            writeln!(
                lines,
                r#"{{"subscriber_id":"s{}","name":"f{number}","event_types":["type_{}"],"where":"user_id == \"u{number}\"","min_amount":{}}}"#,
                number / 2,
                number % 20,
                number % 1_000
            )
            .expect("memory");
        }
        installation.import(lines).await;
        next = (next + LINES).min(filters);
    }
    let imported = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let _matcher = installation.add("matcher").await;
    installation.active().await;
    println!("\nfilters: {filters} of {} subscribers", filters / 2);
    println!("| | seconds | filters/s |\n|---|---|---|");
    println!("| POST /filters/import into PostgreSQL | {imported:.1} | {:.0} |", filters as f64 / imported);
    let loaded = started.elapsed().as_secs_f64();
    println!("| a matcher starts and has them all | {loaded:.1} | {:.0} |", filters as f64 / loaded);
}
