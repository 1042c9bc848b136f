//! What the command line takes: the global flags and the list of commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;
use crate::quantity;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  evs produce --rate 1000                          realistic events, 1,000 a second
  evs filter create --subscriber user_1 --type purchase --tier premium --min-amount 100
  evs tail user_1                                  what user_1 gets, as it comes
  evs tail user_1 --since 10m --where 'amount > 500' --raw | jq .
  evs doctor                                       what is wrong, and what to do

Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 not authorized, 5 rejected, 6 unreachable,
8 a check says no (doctor, bench, filter test, filter diff), 130 and 143 ended by a signal.
More examples: evs cheat";

/// Produce events, see what each subscriber gets, manage filters.
#[derive(Debug, Parser)]
#[command(name = "evs", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The api role [default: http://localhost:8001]
    #[arg(long, global = true, env = "EVS_SERVER", value_name = "URL")]
    pub(crate) server: Option<String>,
    /// The gateway role [default: the server's host, two ports further]
    #[arg(long, global = true, env = "EVS_GATEWAY", value_name = "URL")]
    pub(crate) gateway: Option<String>,
    /// A file with the bearer token; read again for each request
    #[arg(long, global = true, env = "EVS_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The bearer token; other users of this machine may see it, so better a file or the variable
    #[arg(
        long,
        global = true,
        env = "EVS_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        hide_short_help = true
    )]
    pub(crate) token: Option<String>,
    /// A named set of settings; see `evs context`
    #[arg(short, long, global = true, env = "EVS_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The configuration file
    #[arg(long, global = true, env = "EVS_CLI_CONFIG", value_name = "FILE", hide_short_help = true)]
    pub(crate) config: Option<PathBuf>,
    /// How to write the data [default: table]
    #[arg(short, long, global = true, env = "EVS_OUTPUT", value_name = "FORMAT", value_parser = FormatParser)]
    pub(crate) output: Option<Format>,
    /// When to use colour; NO_COLOR is honoured
    #[arg(long, global = true, env = "EVS_COLOR", value_name = "WHEN", default_value = "auto", hide_short_help = true)]
    pub(crate) color: Color,
    /// Say less on stderr: errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more on stderr
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// No progress bars
    #[arg(long, global = true, env = "EVS_NO_PROGRESS", value_parser = clap::builder::FalseyValueParser::new(), hide_short_help = true)]
    pub(crate) no_progress: bool,
    /// How long one request may take [default: 10s]
    #[arg(long, global = true, env = "EVS_TIMEOUT", value_name = "DURATION", value_parser = quantity::duration, hide_short_help = true)]
    pub(crate) timeout: Option<Duration>,
    /// Do not ask before deleting
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Never ask: what needs an answer fails
    #[arg(long, global = true, env = "EVS_NO_INPUT", value_parser = clap::builder::FalseyValueParser::new(), hide_short_help = true)]
    pub(crate) no_input: bool,
    /// Show the requests that would change something instead of sending them
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Show each REST request as a curl command on stderr
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) print_curl: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people; columns are separated by tabs where the output is no terminal.
    #[default]
    Table,
    /// A table with all columns.
    Wide,
    /// One JSON document; streams are NDJSON.
    Json,
    /// One JSON document a line.
    Ndjson,
    /// One YAML document; streams are a document for each item.
    Yaml,
    /// Names or ids only, one a line.
    Name,
    /// Each item as the text says; kept for the life of the program.
    Template(&'static str),
}

/// The formats that are a word.
const FORMATS: [(&str, Format, &str); 7] = [
    ("table", Format::Table, "for people; columns are separated by tabs where the output is no terminal"),
    ("pretty", Format::Table, "the same"),
    ("wide", Format::Wide, "a table with all columns"),
    ("json", Format::Json, "one JSON document; streams are NDJSON"),
    ("ndjson", Format::Ndjson, "one JSON document a line"),
    ("yaml", Format::Yaml, "one YAML document"),
    ("name", Format::Name, "names or ids only, one a line"),
];

impl Format {
    /// As it is given.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Template(text) => format!("template={text}"),
            word => {
                FORMATS.iter().find(|(_, format, _)| *format == word).map_or_else(String::new, |it| it.0.to_owned())
            }
        }
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(template) = text.strip_prefix("template=") {
            return Ok(Self::Template(Box::leak(template.to_owned().into_boxed_str())));
        }
        let known = FORMATS.iter().find(|(name, ..)| *name == text).map(|(_, format, _)| *format);
        known.ok_or_else(|| {
            let names = FORMATS.map(|(name, ..)| name).join(", ");
            format!("{text:?} is no format; there are {names}, and template='{{field}}'")
        })
    }
}

/// [`Format`] on the command line, with the words for help and completion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FormatParser;

impl clap::builder::TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Format, clap::Error> {
        clap::builder::TypedValueParser::parse_ref(&|text: &str| text.parse::<Format>(), command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = clap::builder::PossibleValue> + '_>> {
        let word = |(name, _, help): &(&'static str, Format, &'static str)| {
            clap::builder::PossibleValue::new(*name).help(*help).hide(*name == "pretty")
        };
        let template =
            clap::builder::PossibleValue::new("template=TEXT").help("{field} of each item, such as '{id} {where}'");
        Some(Box::new(FORMATS.iter().map(word).chain([template])))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send events: generated, from a file, or from standard input
    Produce(Box<commands::produce::Args>),
    /// Follow what a subscriber gets
    Tail(commands::tail::Args),
    /// Create, change and try filters
    #[command(subcommand, visible_alias = "filters")]
    Filter(commands::filter::FilterCommand),
    /// Who gets events, and how far behind they are
    #[command(subcommand, visible_alias = "subscriber")]
    Subscribers(commands::subscribers::SubscribersCommand),
    /// Look into the event log
    Events(commands::events::Args),
    /// Why a subscriber did or did not get an event
    Explain(commands::explain::Args),
    /// Records that could not be read as events
    #[command(subcommand)]
    Dlq(commands::dlq::DlqCommand),
    /// Throughput, latency and lag
    #[command(visible_alias = "status")]
    Stats(commands::stats::Args),
    /// The subscribers that are furthest behind
    Top(commands::top::Args),
    /// Run a whole server here, in one process and without any service
    Dev(commands::dev::Args),
    /// Keep a token for a context, and see what it allows
    #[command(subcommand)]
    Auth(commands::auth::AuthCommand),
    /// Make and read access tokens
    #[command(subcommand)]
    Token(commands::token::TokenCommand),
    /// Check everything between here and the server
    Doctor(commands::doctor::Args),
    /// Load test: what was delivered, and how fast
    Bench(commands::bench::Args),
    /// Named sets of settings
    #[command(subcommand)]
    Context(commands::context::ContextCommand),
    /// The settings in force
    #[command(subcommand)]
    Config(commands::config::ConfigCommand),
    /// A completion script for a shell
    Completions(commands::manual::CompletionsArgs),
    /// The manual pages
    Man(commands::manual::ManArgs),
    /// Examples for every task
    Cheat,
    /// Versions of this program and the server
    Version,
    /// How this program ends, for scripts
    #[command(hide = true, after_help = commands::manual::EXIT_CODES)]
    ExitCodes,
}
