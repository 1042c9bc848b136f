//! The checks, in the order of the way to the server and through it.

use std::time::{Duration, Instant};

use evs_client::api::Problem;
use evs_client::api::filters::FilterSpec;
use evs_client::api::stats::Stats;
use evs_client::{Ack, Client, Error, Options, StreamError, StreamItem};
use serde_json::Value;
use url::Url;

use super::{Args, Finding, Report, Verdict};
use crate::app::App;
use crate::commands::token;
use crate::exit::Failure;
use crate::output::time_ms;
use crate::quantity::{seconds, thousands};

/// Tokens are refused a few seconds after their time, so clocks must agree better than that.
const SKEW_WARNING_S: i64 = 2;
const SKEW_FAILED_S: i64 = 30;

/// A token that ends this soon should be renewed.
const TOKEN_SOON_S: u64 = 300;

/// Events that may wait for the matcher before it is worth a word.
const MATCHER_LAG_WARNING: u64 = 10_000;

pub(super) async fn all(app: &App, args: &Args, report: &mut Report<'_>) -> Result<(), Failure> {
    let settings = &app.settings;
    report.add(Finding::ok(
        "configuration",
        format!("server {} ({}), file {}", settings.server.value, settings.server.origin, settings.path.display()),
    ))?;
    let client = match app.client() {
        Ok(client) => client,
        Err(failure) => {
            report.add(
                Finding::new("client", Verdict::Failed, failure.message)
                    .fix("correct the URLs: evs config view --show-origin"),
            )?;
            return Ok(());
        }
    };
    report.add(token_check(&client))?;
    let config = client.config();

    let api = report.add(reach("api", &client, &config.server_url, "8001").await)?;
    if api != Verdict::Failed {
        report.add(ready("api ready", &client, &config.server_url).await)?;
        report.add(version(&client).await)?;
        report.add(skew(&client).await)?;
    }
    // Behind a proxy all roles share one address, and the matcher is not for the outside.
    if config.matcher_url != config.server_url && report.add(reach_matcher(&client).await)? == Verdict::Ok {
        report.add(ready("matcher ready", &client, &config.matcher_url).await)?;
    }
    let gateway = report.add(reach("gateway", &client, &config.gateway_url, "8003").await)?;
    if gateway != Verdict::Failed {
        report.add(ready("gateway ready", &client, &config.gateway_url).await)?;
    }
    if api == Verdict::Failed {
        report.add(Finding::new("system", Verdict::Skipped, "the api is out of reach"))?;
    } else {
        match client.stats().await {
            Ok(stats) => {
                for finding in system(&stats) {
                    report.add(finding)?;
                }
            }
            Err(error) => {
                report.add(failed("system", &error))?;
            }
        }
    }
    if args.no_round_trip || app.global.dry_run {
        report.add(Finding::new("round trip", Verdict::Skipped, "as asked"))?;
    } else if api == Verdict::Failed || gateway == Verdict::Failed {
        report.add(Finding::new("round trip", Verdict::Skipped, "api and gateway must both be in reach"))?;
    } else {
        report.add(round_trip(&client, args.round_trip_timeout).await)?;
    }
    Ok(())
}

fn token_check(client: &Client) -> Finding {
    const CHECK: &str = "token";
    let Some(source) = &client.config().token else {
        return Finding::ok(CHECK, "none given, which is right for a server without authentication");
    };
    let text = match source.read() {
        Ok(text) => text,
        Err(error) => {
            return Finding::new(CHECK, Verdict::Failed, error.to_string())
                .fix("name a readable file with --token-file or EVS_TOKEN_FILE");
        }
    };
    let Ok((_, claims)) = token::parts(&text) else {
        return Finding::new(CHECK, Verdict::Failed, "it is not a JWT")
            .because("it has not the form header.claims.signature")
            .fix("make one with `evs token mint`, or ask whoever runs the server");
    };
    let text_of = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let about = format!("subject {}, scope {}", text_of("sub"), text_of("scope"));
    let now_s = token::now_s();
    match claims.get("exp").and_then(Value::as_u64) {
        None => Finding::new(CHECK, Verdict::Warning, format!("{about}; it has no exp, and evs refuses such tokens"))
            .fix("mint one with `evs token mint --ttl 1h`"),
        Some(at) if at <= now_s => {
            Finding::new(CHECK, Verdict::Failed, format!("{about}; it expired {} ago", seconds((now_s - at) as f64)))
                .because("tokens are short-lived on purpose")
                .fix("get a new one; with --token-file the file is read again for each request")
        }
        Some(at) if at - now_s < TOKEN_SOON_S => {
            Finding::new(CHECK, Verdict::Warning, format!("{about}; it expires in {}", seconds((at - now_s) as f64)))
        }
        Some(at) => Finding::ok(CHECK, format!("{about}; it expires in {}", seconds((at - now_s) as f64))),
    }
}

async fn reach(check: &'static str, client: &Client, url: &Url, port: &str) -> Finding {
    let started = Instant::now();
    match client.probe(url, "livez").await {
        Ok(_) => Finding::ok(check, format!("{url} answers in {}", seconds(started.elapsed().as_secs_f64()))),
        Err(error) => {
            let finding = failed(check, &error);
            match &error {
                Error::Unreachable { cause, .. } => {
                    let cause = cause.to_lowercase();
                    if cause.contains("dns") || cause.contains("lookup") || cause.contains("resolve") {
                        finding.because("the host's name is not known here").fix("correct the name, or the DNS")
                    } else if cause.contains("refused") {
                        finding.because("nothing listens on that port").fix(format!(
                            "start evs-server, or name the right address; this role's port is {port} by default"
                        ))
                    } else if cause.contains("invalid http") {
                        finding.because("another program listens there").fix(format!(
                            "this role's port is {port} by default; name the address with --server and --gateway"
                        ))
                    } else if cause.contains("certificate") || cause.contains("tls") {
                        finding
                            .because("the TLS handshake failed")
                            .fix("compare the certificate's names with the URL, and its issuer with the trusted ones")
                    } else {
                        finding.fix("check the network, firewalls and proxies on the way")
                    }
                }
                Error::Timeout { .. } => finding
                    .because("packets are dropped on the way, or the server is stuck")
                    .fix("check firewalls; look at the server's log; try --timeout 60s"),
                Error::Problem(_) | Error::Protocol { .. } => finding.because("another program listens there").fix(
                    format!("this role's port is {port} by default; name the address with --server and --gateway"),
                ),
                _ => finding,
            }
        }
    }
}

/// It has no public surface, so being out of reach from here is no fault.
async fn reach_matcher(client: &Client) -> Finding {
    let finding = reach("matcher", client, &client.config().matcher_url, "8002").await;
    match finding.verdict {
        Verdict::Failed => Finding {
            verdict: Verdict::Warning,
            fix: Some("no harm if it is not meant to be reached from here; `system` below tells how it is".to_owned()),
            ..finding
        },
        _ => finding,
    }
}

async fn ready(check: &'static str, client: &Client, url: &Url) -> Finding {
    match client.probe(url, "readyz").await {
        Ok(_) => Finding::ok(check, "all it depends on is there"),
        Err(Error::Problem(problem)) => Finding::new(check, Verdict::Failed, away(&problem))
            .because("something that this role needs is away, or it is starting or stopping")
            .fix("look at the server's log, which says why; `evs stats` shows the instances"),
        Err(error) => failed(check, &error),
    }
}

/// The dependencies that a readiness answer names as away, or its text.
fn away(problem: &Problem) -> String {
    let body = problem.detail.split_once(": ").map_or(problem.detail.as_str(), |(_, body)| body);
    let Ok(Value::Object(answer)) = serde_json::from_str::<Value>(body) else { return problem.detail.clone() };
    let checks = answer.get("checks").and_then(Value::as_object).into_iter().flatten();
    let away: Vec<_> = checks
        .filter_map(|(name, state)| {
            state.as_str().filter(|state| *state != "ok").map(|state| format!("{name}: {state}"))
        })
        .collect();
    if away.is_empty() { problem.detail.clone() } else { away.join(", ") }
}

async fn version(client: &Client) -> Finding {
    const CHECK: &str = "version";
    let own = env!("CARGO_PKG_VERSION");
    let text = match client.probe(&client.config().server_url, "version").await {
        Ok(text) => text,
        Err(error) => return failed(CHECK, &error),
    };
    let server = serde_json::from_str::<Value>(&text).ok();
    let server = server.as_ref().and_then(|it| it.get("version")).and_then(Value::as_str);
    match server {
        None => Finding::new(CHECK, Verdict::Failed, "the server does not tell its version")
            .because("another program listens there")
            .fix("name evs's api role with --server"),
        Some(server) if server == own => Finding::ok(CHECK, format!("client and server are {own}")),
        Some(server) if minor(server) == minor(own) => {
            Finding::ok(CHECK, format!("client {own}, server {server}: they fit"))
        }
        Some(server) => Finding::new(CHECK, Verdict::Warning, format!("client {own}, server {server}"))
            .because("they are of different releases; what one knows the other may not")
            .fix("bring both to the same version"),
    }
}

fn minor(version: &str) -> Option<&str> {
    version.rsplit_once('.').map(|(minor, _)| minor)
}

async fn skew(client: &Client) -> Finding {
    const CHECK: &str = "clock";
    match client.server_time_s().await {
        Ok(Some(server_s)) => judge_skew(i64::try_from(token::now_s()).unwrap_or(i64::MAX) - server_s),
        Ok(None) => Finding::new(CHECK, Verdict::Skipped, "the server does not tell its time"),
        Err(error) => failed(CHECK, &error),
    }
}

fn judge_skew(ahead_s: i64) -> Finding {
    let detail = match ahead_s {
        0 => "this clock and the server's agree".to_owned(),
        1.. => format!("this clock is {ahead_s} s ahead of the server's"),
        _ => format!("this clock is {} s behind the server's", -ahead_s),
    };
    let verdict = match ahead_s.abs() {
        // The header tells whole seconds.
        0..=SKEW_WARNING_S => return Finding::ok("clock", detail),
        ..=SKEW_FAILED_S => Verdict::Warning,
        _ => Verdict::Failed,
    };
    Finding::new("clock", verdict, detail)
        .because("tokens would be taken for expired or not yet valid, and `--since 10m` means another moment there")
        .fix("let both machines follow a time server (chrony, systemd-timesyncd)")
}

/// What the server knows about itself.
fn system(stats: &Stats) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        "system",
        format!(
            "evs {} {}, up {}; {} events, {} deliveries, {} subscribers, {} filters",
            stats.version,
            stats.mode,
            seconds(stats.uptime_s),
            thousands(stats.events_in_total),
            thousands(stats.deliveries_total),
            thousands(stats.subscribers),
            thousands(stats.filters)
        ),
    )];
    for instance in &stats.instances {
        let about = format!("{} ({})", instance.id, instance.roles.join(", "));
        findings.push(if !instance.healthy {
            let problem = instance.problem.as_deref().unwrap_or("it says that it is not healthy");
            Finding::new("instance", Verdict::Failed, format!("{about}: {problem}")).fix("look at its log")
        } else if instance.age_s > 30.0 {
            Finding::new(
                "instance",
                Verdict::Failed,
                format!("{about} was last heard of {} ago", seconds(instance.age_s)),
            )
            .because("it is dead, or cut off from its stores")
            .fix("start it again; its work resumes where it stopped")
        } else if instance.filter_version < stats.filter_version {
            let behind = stats.filter_version - instance.filter_version;
            Finding::new("instance", Verdict::Warning, format!("{about} is {behind} filter changes behind"))
                .because("it reads changes late; filters made since are pending")
        } else {
            Finding::ok("instance", format!("{about}, up {}", seconds(instance.uptime_s)))
        });
    }
    // The other two roles are asked directly; the matcher may be out of reach from here.
    if !stats.instances.is_empty() && !stats.instances.iter().any(|it| it.roles.iter().any(|role| role == "matcher")) {
        findings.push(
            Finding::new("roles", Verdict::Failed, "no instance has the role matcher")
                .because("events are taken and reach nobody")
                .fix("start one: evs-server --role matcher"),
        );
    }
    let lag: u64 = stats.partitions.iter().map(|partition| partition.lag).sum();
    findings.push(if lag > MATCHER_LAG_WARNING {
        Finding::new("matcher lag", Verdict::Warning, format!("{} events wait to be matched", thousands(lag)))
            .because("the matcher is slower than the producers, or has just started")
            .fix("watch it with `evs stats --watch`; if it grows, add a matcher (at most one a partition)")
    } else {
        Finding::ok("matcher lag", format!("{} events wait to be matched", thousands(lag)))
    });
    findings.push(if stats.subscribers_behind > 0 {
        Finding::new(
            "subscribers",
            Verdict::Ok,
            format!("{} of {} are behind", thousands(stats.subscribers_behind), thousands(stats.subscribers)),
        )
        .fix("`evs top` shows which, and when they would lose events")
    } else {
        Finding::ok("subscribers", "all are up to date")
    });
    if stats.dead_letters_total > 0 {
        findings.push(
            Finding::new(
                "dead letters",
                Verdict::Warning,
                format!("{} records could not be read as events", thousands(stats.dead_letters_total)),
            )
            .because("a producer writes something else than JSON objects")
            .fix("`evs dlq list` shows them and why"),
        );
    }
    if stats.gaps_total > 0 {
        findings.push(
            Finding::new(
                "gaps",
                Verdict::Warning,
                format!("{} gaps were told to subscribers", thousands(stats.gaps_total)),
            )
            .because("they were away longer than the retention, or their queue was full")
            .fix("read more often, or raise the retention of the server"),
        );
    }
    if stats.index.unindexable_filters > 0 {
        findings.push(
            Finding::new(
                "filters",
                Verdict::Warning,
                format!("{} filters are tried on every event", thousands(stats.index.unindexable_filters)),
            )
            .because("nothing in them can be looked up, such as only negations")
            .fix("add a condition with == or in, for example on event_type"),
        );
    }
    findings
}

/// From a filter to a delivery, over every part of the server.
async fn round_trip(client: &Client, timeout: Duration) -> Finding {
    const CHECK: &str = "round trip";
    let run: u64 = rand::random();
    let subscriber = format!("evs-doctor-{run:016x}");
    let result = tokio::time::timeout(timeout, travel(client, &subscriber, run)).await;
    // What is left if this fails is one filter that matches nothing else.
    let cleaned = client.delete_subscriber(&subscriber).await;
    match result {
        Ok(Ok(took)) if cleaned.is_ok() => Finding::ok(
            CHECK,
            format!("filter, publish, match, deliver: {} from publish to receipt", seconds(took.as_secs_f64())),
        ),
        Ok(Ok(_)) => Finding::new(CHECK, Verdict::Warning, format!("it worked, but {subscriber} could not be deleted"))
            .fix(format!("evs subscribers delete {subscriber}")),
        Ok(Err(Lost { at, error: Error::Unauthorized(problem) })) => {
            Finding::new(CHECK, Verdict::Failed, format!("{at}: {}", problem.detail))
                .because("the token does not allow it")
                .fix("use one with produce, filters:any, subscribe:* and operate; or --no-round-trip")
        }
        Ok(Err(Lost { at, error })) => {
            Finding::new(CHECK, Verdict::Failed, format!("{at}: {error}")).fix("look at the server's log")
        }
        Err(_) => Finding::new(CHECK, Verdict::Failed, format!("the event did not come within {timeout:?}"))
            .because("the matcher or the gateway does not run, or is far behind")
            .fix("look at `evs stats` and the server's log; wait longer with --round-trip-timeout 60s"),
    }
}

struct Lost {
    at: &'static str,
    error: Error,
}

fn lost(at: &'static str) -> impl Fn(Error) -> Lost {
    move |error| Lost { at, error }
}

async fn travel(client: &Client, subscriber: &str, run: u64) -> Result<Duration, Lost> {
    let event_type = format!("evs_doctor_{run:016x}");
    let spec = FilterSpec {
        subscriber_id: subscriber.to_owned(),
        event_types: vec![event_type.clone()],
        ..FilterSpec::default()
    };
    client.create_filter(&spec, Some(Duration::from_secs(10))).await.map_err(lost("creating a filter"))?;
    let options = Options { ack: Ack::OnDelivery, ..Options::default() };
    let mut stream = client.subscribe(subscriber, options).map_err(lost("connecting"))?;
    let mut published = None;
    let now = time_ms(i64::try_from(token::now_s()).unwrap_or_default() * 1_000);
    let event = format!(
        r#"{{"event_id":"{subscriber}","user_id":"{subscriber}","event_type":"{event_type}","user_tier":"free","amount":0,"timestamp":"{now}"}}"#
    );
    loop {
        match stream.next().await {
            Some(Ok(StreamItem::Connected(_))) if published.is_none() => {
                published = Some(Instant::now());
                client.publish(event.clone(), None).await.map_err(lost("publishing"))?;
            }
            Some(Ok(StreamItem::Event(_))) => {
                let took = published.map(|at| at.elapsed()).unwrap_or_default();
                stream.close().await;
                return Ok(took);
            }
            Some(Ok(_)) => {}
            Some(Err(StreamError::Refused(error))) => return Err(Lost { at: "connecting", error }),
            Some(Err(error)) => {
                return Err(Lost { at: "the stream", error: Error::Config(error.to_string()) });
            }
            None => return Err(Lost { at: "the stream", error: Error::Config("it ended".to_owned()) }),
        }
    }
}

fn failed(check: &'static str, error: &Error) -> Finding {
    let finding = Finding::new(check, Verdict::Failed, error.to_string());
    match error {
        Error::Unauthorized(_) => finding
            .because("the server wants a token, or another one")
            .fix("give one with --token-file or EVS_TOKEN; `evs token inspect` shows what it allows"),
        _ => finding,
    }
}

#[cfg(test)]
mod tests {
    use evs_client::api::stats::{InstanceStats, PartitionStats};

    use super::*;

    fn verdicts(stats: &Stats) -> Vec<(&'static str, Verdict)> {
        system(stats)
            .into_iter()
            .map(|finding| (finding.check, finding.verdict))
            .filter(|(_, it)| *it != Verdict::Ok)
            .collect()
    }

    fn healthy() -> Stats {
        let roles = vec!["matcher".to_owned()];
        let instance = InstanceStats { id: "a".into(), roles, healthy: true, ..InstanceStats::default() };
        Stats { instances: vec![instance], ..Stats::default() }
    }

    #[test]
    fn a_healthy_system_has_no_findings() {
        assert_eq!(verdicts(&healthy()), []);
    }

    #[test]
    fn faults_are_found_by_name() {
        let mut stats = healthy();
        stats.instances[0].roles.pop();
        assert_eq!(verdicts(&stats), [("roles", Verdict::Failed)]);

        let mut stats = healthy();
        stats.instances[0].age_s = 60.0;
        assert_eq!(verdicts(&stats), [("instance", Verdict::Failed)]);

        let mut stats = healthy();
        stats.instances[0].healthy = false;
        assert_eq!(verdicts(&stats), [("instance", Verdict::Failed)]);

        let mut stats = healthy();
        stats.filter_version = 3;
        assert_eq!(verdicts(&stats), [("instance", Verdict::Warning)]);

        let mut stats = healthy();
        stats.partitions = vec![PartitionStats { lag: MATCHER_LAG_WARNING + 1, ..PartitionStats::default() }];
        stats.dead_letters_total = 1;
        stats.gaps_total = 1;
        stats.index.unindexable_filters = 1;
        let found: Vec<_> = verdicts(&stats).into_iter().map(|(check, _)| check).collect();
        assert_eq!(found, ["matcher lag", "dead letters", "gaps", "filters"]);
    }

    #[test]
    fn clocks_may_differ_a_little() {
        assert_eq!(judge_skew(-2).verdict, Verdict::Ok);
        assert_eq!(judge_skew(10).verdict, Verdict::Warning);
        assert_eq!(judge_skew(-31).verdict, Verdict::Failed);
        assert_eq!(judge_skew(-31).detail, "this clock is 31 s behind the server's");
    }

    #[test]
    fn readiness_answers_name_what_is_away() {
        let detail = r#"the server answered with status 503: {"ready":false,"checks":{"log":"ok","queue":"away"}}"#;
        assert_eq!(away(&Problem { detail: detail.into(), ..Problem::default() }), "queue: away");
        assert_eq!(away(&Problem { detail: "shard 0: gone".into(), ..Problem::default() }), "shard 0: gone");
    }
}
