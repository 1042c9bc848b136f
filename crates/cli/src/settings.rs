//! Settings and where they come from: flags, then the environment, the context, the configuration file, defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use evs_client::{Config, Token};
use serde::{Deserialize, Serialize};

use crate::args::{Format, Global};
use crate::exit::{ExitStatus, Failure};
use crate::quantity;

const SERVER_DEFAULT: &str = "http://localhost:8001";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// A value and who gave it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Setting<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag(&'static str),
    Environment(String),
    Context(String),
    File(PathBuf),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{}", name.replace('_', "-")),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Context(name) => write!(f, "context {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The configuration file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConfigFile {
    /// The context in use where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current_context: Option<String>,
    #[serde(flatten)]
    pub(crate) defaults: Profile,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) contexts: BTreeMap<String, Profile>,
}

/// What a context, or the top of the file, may set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Profile {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gateway: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// Such as `table` or `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<String>,
    /// Such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    pub(crate) file: ConfigFile,
    pub(crate) context: Option<Setting<String>>,
    pub(crate) server: Setting<String>,
    pub(crate) gateway: Option<Setting<String>>,
    pub(crate) token: Option<Setting<String>>,
    pub(crate) token_file: Option<Setting<PathBuf>>,
    pub(crate) output: Setting<Format>,
    pub(crate) timeout: Setting<Duration>,
}

impl Settings {
    pub(crate) fn load(global: &Global, matches: &ArgMatches) -> Result<Self, Failure> {
        let path = global.config.clone().unwrap_or_else(default_path);
        let file = ConfigFile::read(&path)?;
        let given = Given { matches };

        let context = given.setting("context", "EVS_CONTEXT", global.context.clone()).or_else(|| {
            file.current_context.clone().map(|value| Setting { value, origin: Origin::File(path.clone()) })
        });
        let empty = Profile::default();
        let profile = match &context {
            Some(Setting { value: name, origin }) => file.contexts.get(name).ok_or_else(|| {
                Failure::usage(format!("there is no context {name:?} (named by {origin})"))
                    .hint("`evs context list` shows those there are, `evs context add` makes one")
            })?,
            None => &empty,
        };
        let layers = Layers { context: context.as_ref(), profile, file: &file.defaults, path: &path };

        let default = || Setting { value: SERVER_DEFAULT.to_owned(), origin: Origin::Default };
        let kept_server = layers.or(None, |profile| profile.server.clone()).unwrap_or_else(default);
        let server = given.setting("server", "EVS_SERVER", global.server.clone());
        // A gateway and a token of the file do not go with another server from the command line.
        let own = server.as_ref().is_none_or(|it| Config::is_same_server(&it.value, &kept_server.value));
        let gateway = given.setting("gateway", "EVS_GATEWAY", global.gateway.clone());
        let token_file = given.setting("token_file", "EVS_TOKEN_FILE", global.token_file.clone());
        let output = given.setting("output", "EVS_OUTPUT", global.output);
        let timeout = given.setting("timeout", "EVS_TIMEOUT", global.timeout);
        Ok(Self {
            server: server.unwrap_or(kept_server),
            gateway: layers.or(gateway, |profile| profile.gateway.clone().filter(|_| own)),
            token: given.setting("token", "EVS_TOKEN", global.token.clone()),
            token_file: layers.or(token_file, |profile| profile.token_file.clone().filter(|_| own)),
            output: layers
                .parsed(output, |profile| profile.output.as_deref(), str::parse::<Format>)?
                .unwrap_or(Setting { value: Format::Table, origin: Origin::Default }),
            timeout: layers
                .parsed(timeout, |profile| profile.timeout.as_deref(), quantity::duration)?
                .unwrap_or(Setting { value: TIMEOUT_DEFAULT, origin: Origin::Default }),
            context: context.clone(),
            file: file.clone(),
            path: path.clone(),
        })
    }

    pub(crate) fn client_config(&self) -> Result<Config, Failure> {
        let mut config = Config::new(&self.server.value)?;
        if let Some(gateway) = &self.gateway {
            config = config.with_gateway(&gateway.value)?;
        }
        config.timeout = self.timeout.value;
        // Of two, the nearer one: a token given by hand goes before a file of a context.
        let by_hand = self.token.as_ref().map(|token| Token::Text(token.value.clone()));
        let from_file = self.token_file.as_ref().map(|file| Token::File(file.value.clone()));
        let flag_file = matches!(self.token_file, Some(Setting { origin: Origin::Flag(_), .. }));
        config.token = if flag_file { from_file.or(by_hand) } else { by_hand.or(from_file) };
        Ok(config)
    }
}

/// What was given by flag or environment; clap has read both and knows which.
struct Given<'a> {
    matches: &'a ArgMatches,
}

impl Given<'_> {
    fn setting<T>(&self, id: &'static str, variable: &str, value: Option<T>) -> Option<Setting<T>> {
        let origin = match self.matches.value_source(id) {
            Some(ValueSource::EnvVariable) => Origin::Environment(variable.to_owned()),
            _ => Origin::Flag(id),
        };
        value.map(|value| Setting { value, origin })
    }
}

/// What stands behind flags and environment.
struct Layers<'a> {
    context: Option<&'a Setting<String>>,
    profile: &'a Profile,
    file: &'a Profile,
    path: &'a Path,
}

impl Layers<'_> {
    fn or<T>(&self, given: Option<Setting<T>>, of: impl Fn(&Profile) -> Option<T>) -> Option<Setting<T>> {
        let from_context = || {
            let name = &self.context?.value;
            of(self.profile).map(|value| Setting { value, origin: Origin::Context(name.clone()) })
        };
        let from_file = || of(self.file).map(|value| Setting { value, origin: Origin::File(self.path.to_owned()) });
        given.or_else(from_context).or_else(from_file)
    }

    fn parsed<T>(
        &self,
        given: Option<Setting<T>>,
        of: impl Fn(&Profile) -> Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Setting<T>>, Failure> {
        if given.is_some() {
            return Ok(given);
        }
        match self.or(None, |profile| of(profile).map(str::to_owned)) {
            None => Ok(None),
            Some(Setting { value, origin }) => match parse(&value) {
                Ok(value) => Ok(Some(Setting { value, origin })),
                Err(error) => Err(Failure::usage(format!("{origin}: {error}"))),
            },
        }
    }
}

impl ConfigFile {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::usage(format!("cannot read {}: {error}", path.display()))),
        };
        Self::parse(&text).map_err(|error| {
            Failure::usage(format!("{} is not a configuration: {}", path.display(), error.trim()))
                .hint("it knows server, gateway, token_file, output, timeout, current_context and [contexts.NAME]")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
        // serde cannot refuse unknown fields of a flattened struct.
        let known = ["server", "gateway", "token_file", "output", "timeout"];
        let unknown = |table: &toml::Table, more: &[&str]| {
            table.keys().find(|key| !known.contains(&key.as_str()) && !more.contains(&key.as_str())).cloned()
        };
        if let Some(key) = unknown(&table, &["current_context", "contexts"]) {
            return Err(format!("unknown setting {key:?}"));
        }
        for (name, context) in table.get("contexts").and_then(toml::Value::as_table).into_iter().flatten() {
            if let Some(key) = context.as_table().and_then(|context| unknown(context, &[])) {
                return Err(format!("unknown setting {key:?} in context {name:?}"));
            }
        }
        table.try_into().map_err(|error: toml::de::Error| error.to_string())
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let fail = |error: &dyn fmt::Display| {
            Failure::new(ExitStatus::Failure, format!("cannot write {}: {error}", path.display()))
        };
        let text = toml::to_string_pretty(self).map_err(|error| fail(&error))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| fail(&error))?;
        }
        // Whole or not at all.
        let new = path.with_extension("toml.new");
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(|error| fail(&error))
    }
}

/// `evs/config.toml` in the user's configuration folder.
fn default_path() -> PathBuf {
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    folder.unwrap_or_default().join("evs").join("config.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back() {
        let mut file = ConfigFile { current_context: Some("prod".into()), ..ConfigFile::default() };
        file.defaults.output = Some("json".into());
        file.contexts
            .insert("prod".into(), Profile { server: Some("https://evs.example".into()), ..Profile::default() });
        let text = toml::to_string_pretty(&file).unwrap();
        assert_eq!(ConfigFile::parse(&text), Ok(file));
    }

    #[test]
    fn typos_are_told() {
        assert_eq!(ConfigFile::parse("sever = \"x\"").unwrap_err(), "unknown setting \"sever\"");
        let error = ConfigFile::parse("[contexts.a]\ntoken = \"x\"").unwrap_err();
        assert_eq!(error, "unknown setting \"token\" in context \"a\"");
    }
}
