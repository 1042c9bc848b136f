//! `evs config`: the settings in force and where each comes from.

use clap::Subcommand;
use serde::Serialize;

use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::Column;
use crate::settings::{Origin, Setting};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the settings in force
    #[command(after_help = "\
Examples:
  evs config view --show-origin")]
    View {
        /// Also where each comes from
        #[arg(long)]
        show_origin: bool,
    },
    /// Show where the configuration file is, or would be
    #[command(after_help = "\
Examples:
  evs config path")]
    Path,
}

#[derive(Serialize)]
struct Row {
    setting: &'static str,
    value: String,
    origin: String,
}

pub(crate) fn run(app: &App, command: &ConfigCommand) -> Result<ExitStatus, Failure> {
    let settings = &app.settings;
    let show_origin = match command {
        ConfigCommand::Path => {
            app.out.line(settings.path.display().to_string())?;
            return Ok(ExitStatus::Success);
        }
        ConfigCommand::View { show_origin } => *show_origin,
    };
    let config = settings.client_config()?;
    let row = |setting, value: String, origin: &Origin| Row { setting, value, origin: origin.to_string() };
    let mut rows = vec![row("server", config.server_url.to_string(), &settings.server.origin)];
    let gateway = match &settings.gateway {
        Some(Setting { origin, .. }) => origin.clone(),
        None => Origin::Default,
    };
    rows.push(row("gateway", config.gateway_url.to_string(), &gateway));
    if let Some(context) = &settings.context {
        rows.push(row("context", context.value.clone(), &context.origin));
    }
    if let Some(token) = &settings.token {
        rows.push(row("token", "(redacted)".to_owned(), &token.origin));
    }
    if let Some(file) = &settings.token_file {
        rows.push(row("token_file", file.value.display().to_string(), &file.origin));
    }
    rows.push(row("output", settings.output.value.name(), &settings.output.origin));
    rows.push(row("timeout", format!("{:?}", settings.timeout.value), &settings.timeout.origin));
    const PLAIN: &[Column<Row>] =
        &[Column::new("SETTING", |it| it.setting.to_owned()), Column::new("VALUE", |it| it.value.clone())];
    const FULL: &[Column<Row>] = &[
        Column::new("SETTING", |it| it.setting.to_owned()),
        Column::new("VALUE", |it| it.value.clone()),
        Column::new("ORIGIN", |it| it.origin.clone()),
    ];
    app.out.list(&rows, if show_origin { FULL } else { PLAIN })?;
    Ok(ExitStatus::Success)
}
