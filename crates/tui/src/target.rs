//! Which server: flags and environment first, then the context of `evs`, then its file, then the default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use evs_client::{Client, Config, Token};
use serde::Deserialize;

use crate::args::Args;
use crate::config::Environment;
use crate::format::shell_quote;

const SERVER_DEFAULT: &str = "http://localhost:8001";

/// The part of `evs`'s configuration that says where servers are. `evs` owns the file and checks the rest of it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Contexts {
    current_context: Option<String>,
    #[serde(flatten)]
    defaults: Profile,
    #[serde(default)]
    contexts: BTreeMap<String, Profile>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Profile {
    server: Option<String>,
    gateway: Option<String>,
    token_file: Option<PathBuf>,
}

/// A server, and what to call it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The context's name, or the address.
    pub name: String,
    pub server: String,
    pub gateway: String,
    /// What makes `evs` talk to the same server, as [`crate::app::Settings`] has them; and curl.
    pub evs_flags: String,
    pub curl: String,
    pub client: Client,
}

impl Contexts {
    /// # Errors
    /// If the file is there but is no configuration.
    pub fn read(environment: &Environment) -> Result<Self, String> {
        let path = environment.evs_config.clone().unwrap_or_else(|| environment.config_folder().join("config.toml"));
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }

    fn parse(text: &str, path: &Path) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| format!("{}: {}", path.display(), error.to_string().trim()))
    }

    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.contexts.keys().cloned().collect()
    }

    /// The server that the command line means, or a context by name.
    ///
    /// # Errors
    /// If the context is unknown or the address is none.
    pub fn target(&self, args: &Args, switched: Option<&str>) -> Result<Target, String> {
        let name =
            switched.map(str::to_owned).or_else(|| args.context.clone()).or_else(|| self.current_context.clone());
        let empty = Profile::default();
        let profile = match &name {
            Some(name) => self
                .contexts
                .get(name)
                .ok_or_else(|| format!("there is no context {name:?}; `evs context list` shows those there are"))?,
            None => &empty,
        };
        // A context chosen inside goes before what the command line said about another server.
        let flags = switched.is_none();
        let given = args.server.clone().filter(|_| flags);
        let is_given = given.is_some();
        let kept = profile.server.clone().or_else(|| self.defaults.server.clone());
        let kept = kept.unwrap_or_else(|| SERVER_DEFAULT.to_owned());
        let server = given.unwrap_or_else(|| kept.clone());
        // A gateway and a token of the file do not go with another server of the command line.
        let own = !is_given || Config::is_same_server(&server, &kept);
        let from_file = || profile.gateway.clone().or_else(|| self.defaults.gateway.clone()).filter(|_| own);
        let gateway = args.gateway.clone().filter(|_| flags).or_else(from_file);
        let mut config = Config::new(&server).map_err(|error| error.to_string())?;
        if let Some(gateway) = gateway {
            config = config.with_gateway(&gateway).map_err(|error| error.to_string())?;
        }
        let token_file = args
            .token_file
            .clone()
            .filter(|_| flags)
            .or_else(|| profile.token_file.clone().or_else(|| self.defaults.token_file.clone()).filter(|_| own));
        // Among curl's arguments others on this machine would see the token.
        let curl = match (args.token.is_some() && flags, &token_file) {
            (true, _) => "printf 'Authorization: Bearer %s' \"$EVS_TOKEN\" | curl -H @-".to_owned(),
            (false, Some(file)) => {
                let file = shell_quote(&file.to_string_lossy());
                format!("sed 's/^/Authorization: Bearer /' {file} | curl -H @-")
            }
            (false, None) => "curl".to_owned(),
        };
        config.token = match (args.token.clone().filter(|_| flags), token_file.clone()) {
            (Some(token), _) => Some(Token::Text(token)),
            (None, Some(file)) => Some(Token::File(file)),
            (None, None) => None,
        };
        let address = config.server_url.to_string();
        let short = address.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
        let gateway = config.gateway_url.to_string().trim_end_matches('/').to_owned();
        let evs_flags = if is_given {
            let token = token_file.as_ref().map(|f| format!(" --token-file {}", shell_quote(&f.to_string_lossy())));
            format!(
                " --server {} --gateway {}{}",
                shell_quote(address.trim_end_matches('/')),
                shell_quote(&gateway),
                token.unwrap_or_default()
            )
        } else {
            // The current context is the one that `evs` takes by itself.
            let other = name.as_ref().filter(|name| Some(*name) != self.current_context.as_ref());
            other.map(|name| format!(" --context {}", shell_quote(name))).unwrap_or_default()
        };
        let label = name.filter(|_| !is_given).unwrap_or_else(|| short.to_owned());
        let client = Client::new(config).map_err(|error| error.to_string())?;
        Ok(Target { name: label, server: address.trim_end_matches('/').to_owned(), gateway, evs_flags, curl, client })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn contexts() -> Contexts {
        let text = "current_context = \"prod\"\noutput = \"json\"\n[contexts.prod]\nserver = \"https://evs.example\"\n\
                    gateway = \"https://ws.example\"\n[contexts.dev]\nserver = \"localhost:9001\"\n";
        Contexts::parse(text, Path::new("config.toml")).unwrap()
    }

    #[test]
    fn commands_for_a_shell_name_the_server_only_where_they_must() {
        let flags = |args: &[&str], switched| {
            let args = Args::parse_from(["evs-tui"].iter().chain(args));
            let target = contexts().target(&args, switched).unwrap();
            (target.evs_flags, target.curl)
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(flags(&[], None), pair("", "curl"));
        assert_eq!(flags(&[], Some("dev")), pair(" --context dev", "curl"));
        let file = "/run/a token";
        assert_eq!(
            flags(&["--server", "x:1", "--token-file", file], None),
            pair(
                " --server http://x:1 --gateway http://x:3 --token-file '/run/a token'",
                "sed 's/^/Authorization: Bearer /' '/run/a token' | curl -H @-"
            )
        );
    }

    #[test]
    fn a_token_of_the_file_goes_to_its_own_server_only() {
        let text = "current_context = \"a\"\n[contexts.a]\nserver = \"10.0.0.5:8001\"\ntoken_file = \"/run/a\"\n";
        let contexts = Contexts::parse(text, Path::new("config.toml")).unwrap();
        let shown = |args: &[&str]| {
            let args = Args::parse_from(["evs-tui"].iter().chain(args));
            let target = contexts.target(&args, None).unwrap();
            (target.client.config().token.is_some(), target.evs_flags.contains("/run/a"))
        };
        assert_eq!(shown(&[]), (true, false));
        assert_eq!(shown(&["--server", "http://10.0.0.5:8001"]), (true, true));
        assert_eq!(shown(&["--server", "10.0.0.6:8001"]), (false, false));
    }

    #[test]
    fn flags_go_before_the_context_and_the_context_before_the_default() {
        let target = |args: &[&str], switched| {
            let args = Args::parse_from(["evs-tui"].iter().chain(args));
            contexts().target(&args, switched).map(|t| (t.name, t.server))
        };
        let pair = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(target(&[], None), pair("prod", "https://evs.example"));
        assert_eq!(target(&["-c", "dev"], None), pair("dev", "http://localhost:9001"));
        assert_eq!(target(&["--server", "http://x:1"], None), pair("x:1", "http://x:1"));
        assert_eq!(target(&["--server", "http://x:1"], Some("dev")), pair("dev", "http://localhost:9001"));
        assert!(target(&["-c", "nope"], None).unwrap_err().contains("nope"));
    }
}
