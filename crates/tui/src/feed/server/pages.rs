//! The pages that the screen wants, asked for again once a second; another wish goes first.

use std::time::Duration;

use evs_client::{Client, Error, SubscriberSort, SubscribersQuery as Query};
use tokio::sync::{mpsc, watch};

use super::{failure, tell};
use crate::app::screens::PAGE_ROWS;
use crate::message::{FeedMessage, Message, Sort, SubscribersQuery, Topic, Wants};

const EVERY: Duration = Duration::from_secs(1);
/// Filters of one subscriber that its screen shows.
const OWN_FILTERS_MAX: usize = 200;

pub(super) async fn run(client: Client, mut wants: watch::Receiver<Wants>, messages: mpsc::Sender<Message>) {
    loop {
        let wanted = wants.borrow_and_update().clone();
        let started = tokio::time::Instant::now();
        tokio::select! {
            done = fetch(&client, &wanted, &messages) => if done.is_err() { return },
            changed = wants.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        }
        // A server that takes long for a page is not asked more often than it can answer.
        let pause = EVERY.max(started.elapsed());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = wants.changed() => if changed.is_err() { return },
        }
    }
}

async fn fetch(client: &Client, wants: &Wants, messages: &mpsc::Sender<Message>) -> Result<(), ()> {
    let limit = Some(PAGE_ROWS as usize);
    if let Some(query) = &wants.subscribers {
        let page = client.subscribers(&of(query)).await;
        tell_or(messages, Topic::Subscribers, page.map(|page| FeedMessage::Subscribers(query.clone(), page))).await?;
    }
    if let Some(id) = &wants.detail {
        tell_or(messages, Topic::Detail, detail(client, id).await).await?;
    }
    if let Some(query) = &wants.filters {
        let page = client.filters(query.subscriber.as_deref(), limit, query.page.as_deref()).await;
        tell_or(messages, Topic::Filters, page.map(|page| FeedMessage::Filters(query.clone(), page))).await?;
    }
    if let Some(query) = &wants.dead_letters {
        let page = client.dead_letters(limit, query.as_deref()).await;
        tell_or(messages, Topic::DeadLetters, page.map(|page| FeedMessage::DeadLetters(query.clone(), page))).await?;
    }
    Ok(())
}

async fn detail(client: &Client, id: &str) -> Result<FeedMessage, Error> {
    let detail = client.subscriber(id).await?;
    let filters = client.filters(Some(id), Some(OWN_FILTERS_MAX), None).await?;
    Ok(match detail {
        Some(detail) => FeedMessage::Detail(Box::new(detail), filters.items),
        None => FeedMessage::Failed(
            Topic::Detail,
            crate::message::Failure {
                kind: crate::message::FailureKind::NotFound,
                why: format!("there is no subscriber {id:?}"),
                problem: None,
            },
        ),
    })
}

async fn tell_or(messages: &mpsc::Sender<Message>, topic: Topic, result: Result<FeedMessage, Error>) -> Result<(), ()> {
    tell(messages, result.unwrap_or_else(|error| FeedMessage::Failed(topic, failure(error)))).await
}

fn of(query: &SubscribersQuery) -> Query {
    Query {
        sort: Some(match query.sort {
            Sort::LagEvents => SubscriberSort::LagEvents,
            Sort::LagS => SubscriberSort::LagSeconds,
            Sort::Id => SubscriberSort::Id,
            Sort::State => SubscriberSort::State,
            Sort::Filters => SubscriberSort::Filters,
            Sort::DeliveredPerS => SubscriberSort::DeliveredPerSecond,
            Sort::LastAck => SubscriberSort::LastAck,
        }),
        ascending: Some(query.ascending),
        search: query.contains.clone(),
        states: query.states().map(str::to_owned),
        limit: Some(PAGE_ROWS as usize),
        page: query.page.clone(),
    }
}
