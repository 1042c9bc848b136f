//! Requests that change or ask something once; their answers carry their number.

use evs_client::{Client, Error};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::failure;
use crate::message::{Answer, Ask, Message};

pub(super) async fn run(client: Client, mut asks: mpsc::Receiver<(u64, Ask)>, messages: mpsc::Sender<Message>) {
    // At most as many as the channel holds wait behind these; a slow dry run does not hold up a delete.
    const AT_ONCE_MAX: usize = 4;
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            asked = asks.recv(), if running.len() < AT_ONCE_MAX => {
                let Some((number, ask)) = asked else { return };
                let (client, messages) = (client.clone(), messages.clone());
                running.spawn(async move {
                    let result = answer(&client, ask).await.map_err(failure);
                    // Fails only when the loop is gone.
                    let _ = messages.send(Message::Answer(number, result)).await;
                });
            }
            _ = running.join_next(), if !running.is_empty() => {}
        }
    }
}

async fn answer(client: &Client, ask: Ask) -> Result<Answer, Error> {
    Ok(match ask {
        Ask::CreateFilter(spec) => Answer::FilterSaved(Box::new(client.create_filter(&spec, None).await?.filter)),
        Ask::UpdateFilter { id, spec, version } => {
            let saved = client.update_filter(id, &spec, Some(&etag(version)), None).await?;
            Answer::FilterSaved(Box::new(saved.filter))
        }
        Ask::DeleteFilters(filters) => {
            for (id, version) in &filters {
                client.delete_filter(*id, Some(&etag(*version))).await?;
            }
            Answer::FiltersDeleted(filters.into_iter().map(|(id, _)| id).collect())
        }
        Ask::TestFilter(request) => Answer::Tested(Box::new(client.test_filter(&request).await?)),
        Ask::Event(position) => Answer::Event(client.event(&position).await?.map(Box::new)),
        Ask::Explain { subscriber, event } => Answer::Explained(Box::new(client.explain(&subscriber, &event).await?)),
        Ask::Redrive(ids) => Answer::Redriven(client.replay_dead_letters(&ids).await?),
        Ask::Purge(ids) => {
            client.purge_dead_letters(&ids).await?;
            Answer::Purged
        }
    })
}

/// What is changed is what was on the screen.
fn etag(version: u64) -> String {
    format!("\"{version}\"")
}
