//! `evs-tui`: arguments, configuration, terminal, loop.

#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use evs_tui::app::App;
use evs_tui::args::Args;
use evs_tui::config::{Config, Environment};
use evs_tui::feed::recording::Recorder;
use evs_tui::feed::{self, Feed};
use evs_tui::keymap::Keymap;
use evs_tui::persist;
use evs_tui::run::{End, run};
use evs_tui::target::Contexts;
use evs_tui::terminal::Guard;
use evs_tui::theme::Role;
use evs_tui::{clock, demo};

/// As `evs` has it: wrong usage or configuration.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    let environment = Environment::read();
    match start(&args, &environment) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("evs-tui: {message}");
            ExitCode::from(USAGE)
        }
    }
}

fn start(args: &Args, environment: &Environment) -> Result<ExitCode, String> {
    let own = environment.config_folder().join("tui.toml");
    let config = Config::read(args.config.as_deref().unwrap_or(&own), args.config.is_some())?;
    let keymap = Keymap::new(&config.keys)?;
    if args.print_keys {
        return Ok(print(&keymap.markdown()));
    }
    if args.print_config {
        return Ok(print(&toml::to_string_pretty(&config).map_err(|error| error.to_string())?));
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err("the dashboard needs a terminal; `evs top --once` and `evs stats -o json` need none".into());
    }
    if environment.term.as_deref() == Some("dumb") {
        return Err("TERM=dumb cannot show a dashboard; `evs top --once` prints the figures".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // One thread reads the server, one draws.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let ended = runtime.block_on(dashboard(args, environment, &config, keymap));
    // A request that hangs must not hold up the way out.
    runtime.shutdown_background();
    Ok(match ended? {
        End::Signal(number) => ExitCode::from(128 + u8::try_from(number).unwrap_or(0)),
        End::Quit | End::SwitchContext(_) => ExitCode::SUCCESS,
    })
}

/// One context after the other, until the operator leaves.
async fn dashboard(args: &Args, environment: &Environment, config: &Config, keymap: Keymap) -> Result<End, String> {
    let contexts = if args.demo || args.replay.is_some() { Contexts::default() } else { Contexts::read(environment)? };
    let state_path = environment.state_folder().join("tui.json");
    let mut switched: Option<String> = None;
    let mut guard: Option<Guard> = None;
    let new = |path: &std::path::PathBuf| {
        Recorder::new(path, clock::now_ms()).map_err(|error| format!("cannot record to {}: {error}", path.display()))
    };
    let mut recorder = args.record.as_ref().map(new).transpose()?;
    let mut trouble = None;
    let mut shown = None;
    loop {
        let mut settings = config.settings(args, environment);
        settings.contexts = contexts.names();
        // A context that cannot be opened leaves the operator where he was.
        let mut feed = match open(args, &contexts, switched.as_deref(), &mut settings) {
            Err(why) if guard.is_some() && trouble.is_none() => {
                trouble = Some(why);
                switched.clone_from(&shown);
                continue;
            }
            opened => opened?,
        };
        shown.clone_from(&switched);
        settings.target_role = config.context_colors.get(&settings.target).map_or(Role::Context, |tint| tint.role());
        let at_start = settings.clone();
        let context = settings.target.clone();
        let size = ratatui::crossterm::terminal::size().map_err(|error| error.to_string())?;
        let mut app = App::new(settings, keymap.clone(), clock::now_ms(), size);
        if !args.no_persist {
            persist::load(&state_path, &context).apply(&mut app, args.theme.is_some());
        }
        if let Some(why) = trouble.take() {
            app.complain(why);
        }
        if let Some(guard) = &mut guard {
            guard.set_mouse(app.settings.mouse).map_err(|error| format!("terminal: {error}"))?;
        }
        feed.recorder = recorder.take();
        let terminal = match &mut guard {
            Some(guard) => guard,
            None => guard.insert(Guard::take(app.settings.mouse).map_err(|error| format!("terminal: {error}"))?),
        };
        assert!(!args.panic, "on purpose");
        let end = run(&mut app, terminal, &mut feed).await.map_err(|error| format!("terminal: {error}"))?;
        recorder = feed.recorder.take();
        if !args.no_persist {
            keep(&state_path, &context, persist::State::of(&app, &at_start));
        }
        match end {
            End::SwitchContext(name) => switched = Some(name),
            end => return Ok(end),
        }
    }
}

fn open(
    args: &Args,
    contexts: &Contexts,
    switched: Option<&str>,
    settings: &mut evs_tui::app::Settings,
) -> Result<Feed, String> {
    if args.demo {
        settings.target = "demo".into();
        return Ok(feed::demo::start(demo::Config::default()));
    }
    if let Some(path) = &args.replay {
        settings.target = "replay".into();
        return feed::replay::start(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    }
    let target = contexts.target(args, switched)?;
    settings.target = target.name;
    settings.server = target.server;
    settings.gateway = target.gateway;
    settings.evs_flags = target.evs_flags;
    settings.curl = target.curl;
    Ok(feed::server::start(target.client))
}

/// What cannot be kept is forgotten: a full disk is no reason to end with an error.
fn keep(path: &Path, context: &str, state: persist::State) {
    let _ = persist::save(path, context, state);
}

/// A reader that went away is not an error.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    ExitCode::SUCCESS
}
