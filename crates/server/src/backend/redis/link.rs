//! One connection for one use, made when it is needed and made anew when it was lost.

use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, SingleNodeRoutingInfo, SlotAddr};
use redis::{AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::Mutex;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the cluster client follows a redirection or tries another node by itself. Scripts may be repeated.
const CLUSTER_RETRIES: u32 = 3;

/// Several calls may be under way at once; they share the connection and keep their order.
#[derive(Debug)]
pub(super) struct Link {
    client: Server,
    response_timeout: Duration,
    state: Mutex<State>,
}

#[expect(clippy::large_enum_variant, reason = "one for each connection, not for each call")]
enum Server {
    Node(Client),
    Cluster(ClusterClient),
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client's own form would show the password.
        f.write_str(match self {
            Self::Node(_) => "Node",
            Self::Cluster(_) => "Cluster",
        })
    }
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Connection>,
    /// Counts connections, so that a late failure of an old one does not end the present one.
    number: u64,
}

#[derive(Clone)]
enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Link {
    /// # Errors
    /// A sentence that says what is wrong with the URL.
    pub(super) fn new(url: &str, response_timeout: Duration) -> anyhow::Result<Self> {
        let explain = "a delivery queue is written redis://host:6379, rediss://host:6379 or \
                       redis+cluster://host:7000,host:7001";
        let (scheme, rest) = url.split_once("://").with_context(|| explain)?;
        if scheme.starts_with("rediss") {
            // Only the first installation succeeds; one provider is all that is wanted.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = match scheme {
            "redis" | "rediss" => Server::Node(Client::open(url).with_context(|| explain)?),
            "redis+cluster" | "rediss+cluster" => {
                let scheme = scheme.trim_end_matches("+cluster");
                let (user, hosts) = rest.rsplit_once('@').map_or(("", rest), |(user, hosts)| (user, hosts));
                let at = if user.is_empty() { String::new() } else { format!("{user}@") };
                let nodes: Vec<String> = hosts.split(',').map(|host| format!("{scheme}://{at}{host}")).collect();
                let builder = ClusterClientBuilder::new(nodes)
                    .connection_timeout(CONNECT_TIMEOUT)
                    .response_timeout(response_timeout)
                    .retries(CLUSTER_RETRIES);
                Server::Cluster(builder.build().with_context(|| explain)?)
            }
            _ => anyhow::bail!(explain),
        };
        Ok(Self { client, response_timeout, state: Mutex::default() })
    }

    /// Sends the commands in one go and waits for all answers; the first error answer is the error. What happened to
    /// commands that were not answered is unknown.
    pub(super) async fn run(&self, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        self.send(pipeline, None).await
    }

    /// The same on the node that holds `key`, for commands that name no key. Errors are among the answers.
    pub(super) async fn run_at(&self, key: &str, pipeline: &Pipeline) -> RedisResult<Vec<Value>> {
        self.send(pipeline, Some(key)).await
    }

    async fn send(&self, pipeline: &Pipeline, at: Option<&str>) -> RedisResult<Vec<Value>> {
        let (number, mut connection) = self.connection().await?;
        let answers = async {
            match (&mut connection, at) {
                (Connection::Node(connection), _) => pipeline.query_async(connection).await,
                (Connection::Cluster(connection), None) => pipeline.query_async(connection).await,
                (Connection::Cluster(connection), Some(key)) => {
                    let node = SingleNodeRoutingInfo::SpecificNode(Route::with_key(key, SlotAddr::Master));
                    connection.route_pipeline(pipeline.clone(), 0, pipeline.len(), node).await
                }
            }
        };
        let result = timeout(self.response_timeout * 2, answers).await.unwrap_or_else(|_| Err(too_late()));
        if let Err(error) = &result
            && (error.is_io_error() || error.is_connection_dropped() || error.is_timeout())
        {
            let mut state = self.state.lock().await;
            if state.number == number {
                state.connection = None;
            }
        }
        result
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.client, Server::Cluster(_))
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((state.number, connection.clone()));
        }
        let connecting = async {
            match &self.client {
                Server::Node(client) => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(CONNECT_TIMEOUT))
                        .set_response_timeout(Some(self.response_timeout));
                    client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Node)
                }
                Server::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
            }
        };
        let connection = timeout(CONNECT_TIMEOUT * 2, connecting).await.unwrap_or_else(|_| Err(too_late()))?;
        state.number += 1;
        state.connection = Some(connection.clone());
        Ok((state.number, connection))
    }
}

fn too_late() -> RedisError {
    (ErrorKind::Io, "it did not answer in time").into()
}
