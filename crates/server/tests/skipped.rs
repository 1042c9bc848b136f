//! Not a test: says which tests this build leaves out, because what is not run must not look as if it had passed. It has
//! no harness, so that `cargo test` shows what it prints.

fn main() {
    let parts = [
        (
            cfg!(feature = "test-services"),
            "the backends on real Kafka, Redis and PostgreSQL, several processes, and the campaign of faults",
            "--features evs-server/test-services, with the services of scripts/services",
        ),
        (cfg!(feature = "test-browser"), "the page and clients/js in a browser", "--features evs-server/test-browser"),
        (cfg!(feature = "kafka-ssl"), "TLS and SASL to Kafka", "--features evs-server/kafka-ssl"),
    ];
    for (_, what, how) in parts.iter().filter(|(runs, ..)| !runs) {
        println!("SKIPPED: {what}; run them by scripts/test, or with {how}");
    }
}
