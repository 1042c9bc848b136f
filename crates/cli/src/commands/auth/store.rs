//! Where tokens are kept: a file for each context in a folder beside the configuration, readable by its owner only.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use evs_client::Config;

use crate::exit::{ExitStatus, Failure};
use crate::settings::{ConfigFile, Origin, Profile, Settings};

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
                let url = Config::new(&server.value)?.server_url;
                let name = url.host_str().unwrap_or("default").to_owned();
                let profile = settings.file.contexts.get(&name);
                (name, profile)
            }
        };
        match profile.and_then(|profile| profile.server.as_deref()) {
            Some(other) if !Config::is_same_server(other, &server.value) => {
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
    match remove(settings, &file, name, &path)? {
        true => Ok(format!("the token of context {name} is removed")),
        false => Ok(format!("context {name} has no token any more; {} is not ours and stays", path.display())),
    }
}

/// Removes the file that a context had its token in, unless it is not one of ours or `file` still names it. Answers
/// whether it is gone.
pub(in crate::commands) fn remove(
    settings: &Settings,
    file: &ConfigFile,
    context: &str,
    path: &Path,
) -> Result<bool, Failure> {
    let mut others = file.contexts.values().chain([&file.defaults]).filter_map(|it| it.token_file.as_deref());
    if !is_same_file(path, &path_of(settings, context)) || others.any(|other| is_same_file(path, other)) {
        return Ok(false);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(ExitStatus::Failure, format!("cannot remove {}: {error}", path.display())))
        }
        _ => Ok(true),
    }
}

/// By what the folders are and not by how they are written: a link, or `..`, leads to the same file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let folder = path.parent().and_then(|folder| fs::canonicalize(folder).ok());
        folder.zip(path.file_name()).map(|(folder, name)| folder.join(name))
    };
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
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
    // No context's file begins with a dot.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.new"));
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
