//! Settings: defaults, then `evs.toml`, then `EVS_…`, then flags; one struct, every field with its unit.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub api_addr: SocketAddr,
    pub matcher_addr: SocketAddr,
    pub gateway_addr: SocketAddr,
    /// Unacked events and bytes after which a session is not sent more.
    pub session_events_max: usize,
    pub session_bytes_max: usize,
    /// The gateway pings this often.
    pub ping_s: u64,
    /// A connection that was full of unacked events for so long is closed as slow; its queue stays.
    pub ack_timeout_s: u64,
    pub connections_max: usize,
    /// How long a stopping server waits for its connections and batches.
    pub drain_s: u64,
}
