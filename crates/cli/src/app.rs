//! What every command has: the settings, the output, the client, and the user's wish to stop.

use std::sync::Arc;

use clap::ArgMatches;
use evs_client::api::Problem;
use evs_client::config::OnRequest;
use evs_client::{Client, RequestLine};

use crate::args::{Cli, Command, Global};
use crate::commands;
use crate::exit::{ExitStatus, Failure};
use crate::interrupt::Interrupt;
use crate::meter::Meter;
use crate::output::{BOLD, CYAN, Output, RED, complain};
use crate::settings::Settings;

pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) out: Output,
    pub(crate) global: Global,
    pub(crate) interrupt: Interrupt,
}

/// Everything from here on happens in a runtime of this thread and a helper: the program waits more than it works.
pub(crate) fn run(cli: Cli, matches: &ArgMatches) -> Result<ExitStatus, Failure> {
    tell_logs(cli.global.verbose);
    let settings = Settings::load(&cli.global, matches)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ExitStatus::Failure, format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(async {
        let out = Output { format: settings.output.value, quiet: cli.global.quiet };
        let app = App { settings, out, interrupt: Interrupt::listen(), global: cli.global };
        dispatch(&app, cli.command).await
    });
    // A reader of stdin may be stuck in a read that nothing can end.
    runtime.shutdown_background();
    result
}

async fn dispatch(app: &App, command: Command) -> Result<ExitStatus, Failure> {
    match command {
        Command::Produce(args) => commands::produce::run(app, *args).await,
        Command::Tail(args) => commands::tail::run(app, args).await,
        Command::Filter(command) => commands::filter::run(app, command).await,
        Command::Subscribers(command) => commands::subscribers::run(app, command).await,
        Command::Events(args) => commands::events::run(app, args).await,
        Command::Explain(args) => commands::explain::run(app, args).await,
        Command::Dlq(command) => commands::dlq::run(app, command).await,
        Command::Stats(args) => commands::stats::run(app, args).await,
        Command::Top(args) => commands::top::run(app, args).await,
        Command::Dev(args) => commands::dev::run(&args),
        Command::Auth(command) => commands::auth::run(app, command).await,
        Command::Token(command) => commands::token::run(app, command),
        Command::Doctor(args) => commands::doctor::run(app, args).await,
        Command::Bench(args) => commands::bench::run(app, args).await,
        Command::Context(command) => commands::context::run(app, command),
        Command::Config(command) => commands::config::run(app, &command),
        Command::Completions(args) => commands::manual::completions(app, &args),
        Command::Man(args) => commands::manual::man(app, &args),
        Command::Cheat => commands::manual::cheat(app),
        Command::ExitCodes => commands::manual::exit_codes(app),
        Command::Version => commands::manual::version(app).await,
    }
}

impl App {
    /// A client for the server of the settings.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        self.client_of(self.settings.client_config()?)
    }

    pub(crate) fn client_of(&self, mut config: evs_client::Config) -> Result<Client, Failure> {
        config.dry_run = self.global.dry_run;
        if self.global.print_curl || self.global.dry_run {
            config.on_request = Some(OnRequest(Arc::new(print_curl)));
        }
        Ok(Client::new(config)?)
    }

    pub(crate) fn meter(&self, total: Option<u64>, unit: &'static str) -> Meter {
        Meter::new(total, unit, !self.global.no_progress && !self.out.quiet)
    }

    /// Asks before something goes for good; without a terminal, `--yes` must be given.
    pub(crate) fn confirm(&self, what: &str) -> Result<(), Failure> {
        use std::io::{BufRead, IsTerminal, Write};
        if self.global.yes || self.global.dry_run {
            return Ok(());
        }
        if self.global.no_input || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(Failure::usage(format!("will not {what} without being asked to twice")).hint("add --yes"));
        }
        let mut stderr = anstream::stderr().lock();
        write!(stderr, "{BOLD}{what}?{BOLD:#} [y/N] ")?;
        stderr.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        match answer.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::new(ExitStatus::Failure, "nothing was changed")),
        }
    }
}

/// The last words of a failed command, on stderr.
pub(crate) fn report(failure: &Failure, json: bool) {
    if failure.is_silent() {
        return;
    }
    if json {
        let problem = failure.problem.as_deref().cloned().unwrap_or_else(|| Problem {
            type_: "about:blank".to_owned(),
            title: format!("{:?}", failure.status),
            detail: failure.message.clone(),
            hint: failure.hint.clone(),
            code: format!("{:?}", failure.status).to_lowercase(),
            ..Problem::default()
        });
        complain(&serde_json::to_string(&problem).unwrap_or_default());
        return;
    }
    complain(&format!("{RED}error:{RED:#} {}", failure.message));
    for error in failure.problem.iter().flat_map(|problem| &problem.errors) {
        let hint = error.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        complain(&format!("  {} {}{hint}", error.pointer, error.detail));
    }
    if let Some(hint) = &failure.hint {
        complain(&format!("{CYAN}hint:{CYAN:#} {hint}"));
    }
}

fn print_curl(request: &RequestLine<'_>) {
    // Among curl's arguments others on this machine would see the token.
    let (before, header) = match request.authenticated {
        true => ("printf 'Authorization: Bearer %s' \"$EVS_TOKEN\" | ", " -H @-"),
        false => ("", ""),
    };
    let mut text = format!("{before}curl -X {} {}{header}", request.method, quote(request.url.as_str()));
    for (name, value) in request.headers {
        text.push_str(&format!(" -H {}", quote(&format!("{name}: {value}"))));
    }
    if let Some(body) = request.body {
        const SHOWN_BYTES_MAX: usize = 4_096;
        match std::str::from_utf8(body) {
            Ok(body) if body.len() <= SHOWN_BYTES_MAX => text.push_str(&format!(" --data-binary {}", quote(body))),
            _ => text.push_str(&format!(" --data-binary @body   # {} bytes", body.len())),
        }
    }
    complain(&text);
}

/// For a POSIX shell.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn tell_logs(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "evs=debug,evs_client=debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(level);
    // Fails only if a subscriber is set, and nobody else sets one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_a_shell() {
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
