//! Where tokens are kept: a file for each context in a folder beside the configuration, readable by its owner only.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use url::Url;

use crate::exit::{ExitStatus, Failure};
use crate::settings::{Origin, Profile, Settings};

/// Whose token it will be.
pub(super) struct Context {
    name: String,
    /// It is not there yet.
    new: bool,
}

impl Context {
    /// The one in use; else one that is named like the server's host.
    ///
    /// A token must never go to another server than the one that it was checked with.
    pub(super) fn of(settings: &Settings) -> Result<Self, Failure> {
        let server = &settings.server;
        let (name, profile) = match &settings.context {
            Some(context) => (context.value.clone(), settings.file.contexts.get(&context.value)),
            None => {
                let url = Url::parse(&server.value).map_err(|error| Failure::usage(format!("the server: {error}")))?;
                let name = url.host_str().unwrap_or("default").to_owned();
                let profile = settings.file.contexts.get(&name);
                (name, profile)
            }
        };
        let same = |other: &str| Url::parse(other).ok() == Url::parse(&server.value).ok();
        match profile.and_then(|profile| profile.server.as_deref()) {
            Some(other) if !same(other) => {
                let hint =
                    format!("`evs context add NAME --server {}` makes one for it, -c NAME names it", server.value);
                let said = format!("the context {name} is of {other}, not of {}", server.value);
                Err(Failure::usage(said).hint(hint))
            }
            Some(_) => Ok(Self { name, new: false }),
            // A context without a server has that of the file, which flags and variables may hide.
            None if settings.context.is_some() && matches!(server.origin, Origin::Flag(_) | Origin::Environment(_)) => {
                let said = format!("the context {name} names no server, and {} does", server.origin);
                Err(Failure::usage(said).hint("leave it away, or use another context"))
            }
            None => Ok(Self { new: settings.context.is_none(), name }),
        }
    }

    /// The name of the context that has the token now.
    pub(super) fn keep(self, settings: &Settings, token: &str) -> Result<String, Failure> {
        let path = path_of(settings, &self.name);
        write(&path, token)
            .map_err(|error| Failure::new(ExitStatus::Failure, format!("cannot write {}: {error}", path.display())))?;
        let mut file = settings.file.clone();
        let profile = file.contexts.entry(self.name.clone()).or_default();
        if self.new {
            let gateway = settings.gateway.as_ref().map(|gateway| gateway.value.clone());
            *profile = Profile { server: Some(settings.server.value.clone()), gateway, ..std::mem::take(profile) };
        }
        profile.token_file = Some(path);
        if settings.context.is_none() {
            file.current_context = Some(self.name.clone());
        }
        file.write(&settings.path)?;
        Ok(self.name)
    }
}

/// What was done, for the user.
pub(super) fn forget(settings: &Settings) -> Result<String, Failure> {
    let nothing = || {
        Failure::new(ExitStatus::NotFound, "no context with a token is in use")
            .hint("`evs context list` shows which have one, -c names one")
    };
    let name = &settings.context.as_ref().ok_or_else(nothing)?.value;
    let mut file = settings.file.clone();
    let profile = file.contexts.get_mut(name).ok_or_else(nothing)?;
    let path = profile.token_file.take().ok_or_else(nothing)?;
    file.write(&settings.path)?;
    if path != path_of(settings, name) {
        return Ok(format!("context {name} has no token any more; {} is not ours and stays", path.display()));
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(ExitStatus::Failure, format!("cannot remove {}: {error}", path.display())))
        }
        _ => Ok(format!("the token of context {name} is removed")),
    }
}

fn path_of(settings: &Settings, context: &str) -> PathBuf {
    let folder = settings.path.parent().unwrap_or(Path::new(""));
    let path = folder.join("tokens").join(file_name(context));
    std::path::absolute(&path).unwrap_or(path)
}

/// A context may have any name; a file may not.
fn file_name(context: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let mut name = String::new();
    for (at, byte) in context.bytes().enumerate() {
        match plain(byte) && !(at == 0 && byte == b'.') {
            true => name.push(byte.into()),
            false => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name
}

/// Whole or not at all, and never readable by others, not even for a moment.
fn write(path: &Path, token: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut make, mut open) = (fs::DirBuilder::new(), fs::OpenOptions::new());
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        make.mode(0o700);
        open.mode(0o600);
    }
    make.recursive(true).create(folder)?;
    let new = path.with_added_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = open.write(true).create_new(true).open(&new)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_contexts_stay_in_the_folder() {
        assert_eq!(file_name("prod.eu-1"), "prod.eu-1");
        assert_eq!(file_name("../x"), "%2e.%2fx");
        assert_eq!(file_name(".."), "%2e.");
        assert_ne!(file_name("a/b"), file_name("a%2fb"));
    }
}
