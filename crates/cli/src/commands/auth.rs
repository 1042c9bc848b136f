//! `evs auth`: a token for a context, checked with the server before it is kept.

mod prompt;
pub(super) mod store;

use std::io::{IsTerminal, Read};

use clap::Subcommand;
use evs_client::{Config, Error, Token};
use serde_json::{Value, json};

use super::token::{now_s, parts};
use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{BOLD, DIM, GREEN, RED, YELLOW, one_line, time_ms};
use crate::quantity::seconds;
use crate::settings::{Origin, Settings};

/// A token is a few hundred bytes; the server looks at none above 8 KiB.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum AuthCommand {
    /// Keep a token for the context in use: from standard input, or asked for without showing it
    #[command(after_help = "\
Examples:
  evs auth login                                       asks for the token
  evs auth login < token
  evs token mint --secret-file secret --sub ops --scope operate | evs -c prod auth login

The token is kept in a file of its own that only you can read. Where no context is in use, one is made that is named
like the server's host.")]
    Login,
    /// Whose token is in use, what it allows, until when, and whether the server takes it
    #[command(after_help = "\
Examples:
  evs auth status
  evs auth status -o json                              exit code 4 if the server refuses it")]
    Status,
    /// Forget the token of the context in use
    #[command(after_help = "\
Examples:
  evs auth logout
  evs -c prod auth logout")]
    Logout,
    /// Write the token in use to stdout
    #[command(after_help = "\
Examples:
  evs auth token | sed 's/^/Authorization: Bearer /' | curl -H @- http://localhost:8001/stats

Among the arguments others on this machine would see it.")]
    Token,
}

pub(crate) async fn run(app: &App, command: AuthCommand) -> Result<ExitStatus, Failure> {
    match command {
        AuthCommand::Login => login(app).await,
        AuthCommand::Status => status(app).await,
        AuthCommand::Logout => logout(app),
        AuthCommand::Token => {
            let token = app.settings.client_config()?.token.ok_or_else(nobody)?;
            app.out.line(token.read()?)?;
            Ok(ExitStatus::Success)
        }
    }
}

async fn login(app: &App) -> Result<ExitStatus, Failure> {
    let settings = &app.settings;
    if settings.token.as_ref().is_some_and(|token| matches!(token.origin, Origin::Flag(_))) {
        return Err(Failure::usage("a token among the arguments is seen by others on this machine")
            .hint("give it on standard input: evs auth login < FILE"));
    }
    if settings.token_file.as_ref().is_some_and(|file| matches!(file.origin, Origin::Flag(_))) {
        return Err(Failure::usage("which token?").hint(
            "evs auth login < FILE keeps a copy; `evs context add` with --token-file reads that file each time",
        ));
    }
    let context = store::Context::of(settings)?;
    let text = match std::io::stdin().is_terminal() {
        true if app.global.no_input => return Err(Failure::usage("there is no token on standard input")),
        true => match prompt::hidden(app, "Token: ").await? {
            Ok(text) => text,
            Err(interrupted) => return Ok(interrupted),
        },
        false => {
            let mut text = String::new();
            std::io::stdin()
                .take(TOKEN_BYTES_MAX)
                .read_to_string(&mut text)
                .map_err(|error| Failure::usage(format!("cannot read the token from standard input: {error}")))?;
            text
        }
    };
    let identity = Identity::of(text.trim())?;
    let mut config = settings.client_config()?;
    config.token = Some(Token::Text(text.trim().to_owned()));
    if let Err(problem) = accepted(app, config.clone()).await? {
        return Err(Error::Unauthorized(problem).into());
    }
    if app.global.dry_run {
        app.out.say("nothing was kept (--dry-run)");
        return Ok(ExitStatus::Success);
    }
    let name = context.keep(settings, text.trim())?;
    app.out.say(format!(
        "{GREEN}{} is logged in to {}{GREEN:#} (context {name}): {}, {}",
        one_line(&identity.subject),
        settings.server.value,
        one_line(&identity.scopes.join(" ")),
        identity.expiry()
    ));
    if !asks_for_tokens(app, config).await {
        app.out.say(format!("{YELLOW}the server asks nobody for a token: everybody may do everything{YELLOW:#}"));
    }
    if let Some(nearer) = nearer(settings) {
        app.out.say(format!("{YELLOW}{nearer} goes before it{YELLOW:#}"));
    }
    Ok(ExitStatus::Success)
}

async fn status(app: &App) -> Result<ExitStatus, Failure> {
    let settings = &app.settings;
    let config = settings.client_config()?;
    let Some(token) = &config.token else {
        return match accepted(app, config).await? {
            Ok(()) => {
                let said = "the server asks nobody for a token";
                match app.out.is_json() {
                    true => app.out.json(&json!({ "server": settings.server.value, "open": true }))?,
                    false => app.out.line(said)?,
                }
                Ok(ExitStatus::Success)
            }
            Err(_) => Err(nobody()),
        };
    };
    let from = match token {
        Token::Text(_) => settings.token.as_ref().map(|token| token.origin.to_string()),
        Token::File(file) => {
            let origin = settings.token_file.as_ref().map(|file| file.origin.to_string());
            origin.map(|origin| format!("{origin}, {}", file.display()))
        }
    };
    let identity = Identity::of(&token.read()?)?;
    let answer = accepted(app, config.clone()).await;
    if app.out.is_json() {
        let reason = answer.as_ref().ok().and_then(|answer| answer.as_ref().err()).map(|problem| &problem.detail);
        app.out.json(&json!({
            "server": settings.server.value,
            "token_from": from,
            "subject": identity.subject,
            "scopes": identity.scopes,
            "expires_s": identity.expires_s,
            "accepted": answer.as_ref().ok().map(Result::is_ok),
            "reason": reason,
        }))?;
    } else {
        let word = match &answer {
            Ok(Ok(())) => format!("{GREEN}takes it{GREEN:#}"),
            Ok(Err(problem)) => format!("{RED}refuses it: {}{RED:#}", one_line(&problem.detail)),
            Err(_) => format!("{DIM}not asked{DIM:#}"),
        };
        for (name, value) in [
            ("token", one_line(&from.unwrap_or_default())),
            ("subject", one_line(&identity.subject)),
            ("scope", one_line(&identity.scopes.join(" "))),
            ("expires", identity.expiry()),
            ("server", format!("{} {word}", settings.server.value)),
        ] {
            app.out.line(format!("{BOLD}{name:<10}{BOLD:#} {value}"))?;
        }
    }
    Ok(match answer? {
        Ok(()) => ExitStatus::Success,
        Err(_) => ExitStatus::Unauthorized,
    })
}

fn logout(app: &App) -> Result<ExitStatus, Failure> {
    if app.global.dry_run {
        app.out.say("nothing was forgotten (--dry-run)");
        return Ok(ExitStatus::Success);
    }
    let done = store::forget(&app.settings)?;
    app.out.say(format!("{GREEN}{done}{GREEN:#}; whoever has a copy of the token can use it until it expires"));
    if let Some(nearer) = nearer(&app.settings) {
        app.out.say(format!("{YELLOW}{nearer} is still set{YELLOW:#}"));
    }
    Ok(ExitStatus::Success)
}

fn nobody() -> Failure {
    Failure::new(ExitStatus::Unauthorized, "no token is in use").hint("evs auth login keeps one for this context")
}

/// What goes before the token of a context.
fn nearer(settings: &Settings) -> Option<&Origin> {
    let by_hand = settings.token.as_ref().map(|token| &token.origin);
    let file = settings.token_file.as_ref().map(|file| &file.origin);
    by_hand.or(file.filter(|origin| matches!(origin, Origin::Flag(_) | Origin::Environment(_))))
}

/// What the server says of itself, since a request without a token would count as a failure; where it does not say, yes.
async fn asks_for_tokens(app: &App, config: Config) -> bool {
    let Ok(client) = app.client_of(config) else { return true };
    let Ok(text) = client.probe(&client.config().server_url, "version").await else { return true };
    let told = serde_json::from_str::<Value>(&text).ok();
    told.as_ref().and_then(|it| it.get("authentication")).and_then(Value::as_bool).unwrap_or(true)
}

/// Whether the server takes the token, whatever it may do with it.
async fn accepted(app: &App, config: Config) -> Result<Result<(), Box<evs_client::api::Problem>>, Failure> {
    let client = app.client_of(config)?;
    match client.filters(None, Some(1), None).await {
        Ok(_) => Ok(Ok(())),
        Err(Error::Unauthorized(problem) | Error::Problem(problem)) if problem.status == 401 => Ok(Err(problem)),
        // It is known who asks, and it may not do this.
        Err(Error::Unauthorized(problem) | Error::Problem(problem)) if problem.status == 403 => Ok(Ok(())),
        Err(error) => Err(error.into()),
    }
}

/// What a token says of itself.
struct Identity {
    subject: String,
    scopes: Vec<String>,
    /// Seconds since the Unix epoch.
    expires_s: Option<u64>,
}

impl Identity {
    fn of(token: &str) -> Result<Self, Failure> {
        let (_, claims) = parts(token)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        let listed = claims.get("scopes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        Ok(Self {
            subject: text("sub").to_owned(),
            scopes: text("scope").split_ascii_whitespace().chain(listed).map(str::to_owned).collect(),
            expires_s: claims.get("exp").and_then(Value::as_u64),
        })
    }

    fn expiry(&self) -> String {
        let Some(at_s) = self.expires_s else { return "without an end".to_owned() };
        let at = time_ms(i64::try_from(at_s).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000));
        let distance = seconds(at_s.abs_diff(now_s()) as f64);
        if at_s <= now_s() { format!("expired {at}, {distance} ago") } else { format!("until {at}, in {distance}") }
    }
}
