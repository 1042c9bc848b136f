//! The page at the gateway's `/` and clients/js in a real browser, against a running server.

mod chromium;
#[path = "../support/embedded.rs"]
mod embedded;
#[path = "../support/poll.rs"]
mod poll;
mod served;

use serde_json::json;

use chromium::Chromium;
use served::Served;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_events_and_goes_on_after_a_reload() {
    let mut server = Served::start().await;
    server.filter("user_1").await;
    let browser = Chromium::start().await;
    let mut tab = browser.open(&server.gateway).await;
    tab.connect(&[("subscriber", "user_1"), ("consumer", "tab")], false).await;
    tab.until("document.getElementById('state').textContent === 'live'").await;
    server.publish(1..=3).await;
    tab.until("document.querySelectorAll('li.event').length === 3").await;
    let text = tab.run("document.querySelector('li.event code').textContent").await;
    assert!(text.as_str().unwrap().contains("\"n\":3"), "the newest is on top: {text}");
    server.acked("user_1", "tab", 3).await;

    // What comes while the page is away is there when it is back, and nothing else.
    tab.go("about:blank").await;
    server.publish(4..=5).await;
    tab.go(&server.gateway).await;
    tab.until("document.querySelectorAll('li.event').length === 2").await;
    let shown = tab.run("[...document.querySelectorAll('li.event span')].map(it => it.textContent)").await;
    assert_eq!(shown, json!(["5", "4"]));

    // A server that goes away and comes back is told and survived.
    server.restart().await;
    server.publish(6..=6).await;
    tab.until("document.querySelectorAll('li.event').length === 3").await;
    assert!(tab.number("reconnects").await >= 1);
    assert_eq!(tab.number("gaps").await, 0);
    if let Ok(path) = std::env::var("EVS_TEST_SCREENSHOT") {
        tab.screenshot(&path).await;
    }
    assert_eq!(tab.errors, Vec::<String>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_resumes_by_cursor_over_an_event_stream() {
    let server = Served::start().await;
    server.filter("user_1").await;
    let browser = Chromium::start().await;
    let mut tab = browser.open(&server.gateway).await;
    tab.connect(&[("subscriber", "user_1"), ("transport", "sse")], true).await;
    tab.until("document.getElementById('state').textContent === 'live'").await;
    server.publish(1..=2).await;
    tab.until("document.querySelectorAll('li.event').length === 2").await;
    server.publish(3..=4).await;
    tab.until("document.querySelectorAll('li.event').length === 4").await;
    server.publish(5..=5).await;
    tab.until("document.querySelectorAll('li.event').length === 5").await;
    tab.go("about:blank").await;
    server.publish(6..=7).await;
    tab.go(&server.gateway).await;
    tab.until("document.querySelectorAll('li.event').length === 2").await;
    let shown = tab.run("[...document.querySelectorAll('li.event span')].map(it => it.textContent)").await;
    assert_eq!(shown, json!(["7", "6"]));
    assert_eq!(tab.errors, Vec::<String>::new());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_and_stops_are_shown() {
    let server = Served::start_with(|config| {
        config.hot_s = 0;
        config.queue_events_max = 5;
    })
    .await;
    server.filter("user_1").await;
    server.publish(1..=20).await;
    server.expired(15).await;
    let browser = Chromium::start().await;
    let mut tab = browser.open(&server.gateway).await;
    tab.connect(&[("subscriber", "user_1"), ("consumer", "tab")], false).await;
    tab.until("document.querySelectorAll('li.event').length === 5").await;
    let gap = tab.run("document.querySelector('li.gap').textContent").await;
    assert!(gap.as_str().unwrap().contains("1 to 15 will not come: retention"), "{gap}");
    // Another tab takes the consumer over: this one is told and stays away.
    let mut other = browser.open(&server.gateway).await;
    other.connect(&[("subscriber", "user_1"), ("consumer", "tab")], false).await;
    tab.until("document.getElementById('state').textContent.includes('4509')").await;
    server.stop().await;
}

/// The module by itself, in a page of its own: manual acks.
#[tokio::test(flavor = "multi_thread")]
async fn the_module_acks_when_told() {
    let server = Served::start().await;
    server.filter("user_1").await;
    server.publish(1..=5).await;
    let browser = Chromium::start().await;
    let mut tab = browser.open(&server.gateway).await;
    let seen = tab
        .run(
            "import('/evs.js').then(({ subscribe }) => new Promise(resolve => {
                const seen = [];
                const subscription = subscribe(location.origin, 'user_1', {
                    consumer: 'module', ack: 'manual',
                    onEvent: ({ seq }) => seen.push(seq),
                    onCaughtUp: () => { subscription.ack(3); subscription.flush(); resolve(seen); },
                });
                window.subscription = subscription;
            }))",
        )
        .await;
    assert_eq!(seen, json!([1, 2, 3, 4, 5]));
    server.acked("user_1", "module", 3).await;
    server.stop().await;
}
