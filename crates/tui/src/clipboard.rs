//! The clipboard of this machine, beside that of the terminal: by the tool that is at home where the dashboard runs.
//! Over SSH there is none here, and only the terminal's (OSC 52) is the operator's.

use std::io::Write;
use std::process::{Command, Stdio};

/// The tool and its arguments, by what the environment has.
#[must_use]
pub fn tool(has: impl Fn(&str) -> bool) -> Option<&'static [&'static str]> {
    if has("TMUX") {
        // tmux passes OSC 52 on only with `set-clipboard on`; its own buffer goes to the terminal with -w.
        return Some(&["tmux", "load-buffer", "-w", "-"]);
    }
    if has("SSH_TTY") || has("SSH_CONNECTION") {
        return None;
    }
    if cfg!(target_os = "macos") {
        return Some(&["pbcopy"]);
    }
    if has("WAYLAND_DISPLAY") {
        return Some(&["wl-copy"]);
    }
    has("DISPLAY").then_some(&["xclip", "-selection", "clipboard"])
}

/// Hands the text to the tool, if there is one. A tool that is missing or fails is no error: the terminal has the text.
pub fn copy(text: &str) {
    let Some([program, arguments @ ..]) = tool(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty())) else {
        return;
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return };
    let text = text.to_owned();
    // The tool may take its time, or stay for ever to serve the selection.
    std::thread::spawn(move || {
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(text.as_bytes());
        }
        let _ = child.wait();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_is_the_one_of_the_place() {
        let with = |names: &'static [&str]| tool(|name| names.contains(&name)).map(|t| t[0]);
        assert_eq!(with(&["TMUX", "SSH_TTY"]), Some("tmux"));
        assert_eq!(with(&["SSH_TTY", "DISPLAY"]), None, "a forwarded display is not where the operator looks");
        if cfg!(target_os = "linux") {
            assert_eq!(with(&["WAYLAND_DISPLAY", "DISPLAY"]), Some("wl-copy"));
            assert_eq!(with(&["DISPLAY"]), Some("xclip"));
            assert_eq!(with(&[]), None);
        }
    }
}
