//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::theme::{ColorChoice, Theme};

/// The evs dashboard: what flows, who is behind, and why.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "evs-tui",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  evs-tui --demo                      look around without a server\n  evs-tui --server http://evs:8001    \
                  attach to a server\n  evs-tui -c prod --read-only         a context of `evs`, nothing can be changed\n\n\
                  Press ? inside for the keys."
)]
pub struct Args {
    /// The api role [default: the context's, else http://localhost:8001]
    #[arg(long, env = "EVS_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The gateway role [default: the server's host, two ports further]
    #[arg(long, env = "EVS_GATEWAY", value_name = "URL")]
    pub gateway: Option<String>,
    /// A file with the bearer token; read again for each request
    #[arg(long, env = "EVS_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The bearer token; other users of this machine may see it, so better a file or the variable
    #[arg(long, env = "EVS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// A context, as `evs context` makes them
    #[arg(short, long, env = "EVS_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Colours
    #[arg(long, value_enum, value_name = "NAME", env = "EVS_TUI_THEME")]
    pub theme: Option<Theme>,
    /// When to use colour; NO_COLOR is honoured
    #[arg(long, value_enum, value_name = "WHEN", env = "EVS_COLOR", default_value = "auto")]
    pub color: ColorChoice,
    /// Draw with plain ASCII characters
    #[arg(long)]
    pub ascii: bool,
    /// Nothing on the server can be changed
    #[arg(long)]
    pub read_only: bool,
    /// Panics as soon as it has the terminal, to see that the terminal comes back
    #[arg(long, hide = true)]
    pub panic: bool,
    /// Synthetic data, no server
    #[arg(long, conflicts_with_all = ["server", "gateway", "context", "replay"])]
    pub demo: bool,
    /// Play a recorded NDJSON file instead of connecting
    #[arg(long, value_name = "FILE", conflicts_with_all = ["server", "gateway", "context"])]
    pub replay: Option<PathBuf>,
    /// Write what is received to a new NDJSON file, for --replay
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Neither read nor write what was open last time
    #[arg(long)]
    pub no_persist: bool,
    /// Leave the mouse to the terminal
    #[arg(long)]
    pub no_mouse: bool,
    /// The dashboard's own configuration [default: evs/tui.toml in the configuration folder]
    #[arg(long, env = "EVS_TUI_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the keys as Markdown, and exit
    #[arg(long)]
    pub print_keys: bool,
    /// Print the configuration in effect as TOML, and exit
    #[arg(long)]
    pub print_config: bool,
}
