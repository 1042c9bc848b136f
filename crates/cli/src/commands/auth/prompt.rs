//! Asks for a line on the terminal without showing what is typed.

use std::io::{Read, Write};

use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use crate::app::App;
use crate::exit::{ExitStatus, Failure};

/// The terminal shows nothing that is typed, until this goes.
struct Hidden;

impl Hidden {
    fn begin() -> std::io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self)
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = disable_raw_mode();
        anstream::eprintln!();
    }
}

/// The line, or how the program ends if the user does not want to say it.
pub(super) async fn hidden(app: &App, question: &str) -> Result<Result<String, ExitStatus>, Failure> {
    let _hidden = Hidden::begin()?;
    anstream::eprint!("{question}");
    std::io::stderr().flush()?;
    let reading = tokio::task::spawn_blocking(|| read_line(&mut std::io::stdin().lock()));
    tokio::select! {
        line = reading => {
            let line = line.map_err(|error| Failure::new(ExitStatus::Failure, error.to_string()))??;
            Ok(line.ok_or(ExitStatus::Interrupted))
        }
        status = app.interrupt.wait() => Ok(Err(status)),
    }
}

/// In raw mode keys come as they are: what ends and edits a line is ours to know. `None`: it was given up.
fn read_line(from: &mut impl Read) -> std::io::Result<Option<String>> {
    const END: [u8; 2] = *b"\r\n";
    const GIVE_UP: [u8; 2] = [3, 4];
    const BACKSPACE: [u8; 2] = [8, 127];
    const CLEAR: u8 = 21;
    let (mut line, mut byte) = (Vec::new(), [0]);
    while from.read(&mut byte)? == 1 {
        match byte[0] {
            end if END.contains(&end) => return Ok(Some(String::from_utf8_lossy(&line).into_owned())),
            give_up if GIVE_UP.contains(&give_up) => return Ok(None),
            back if BACKSPACE.contains(&back) => _ = line.pop(),
            CLEAR => line.clear(),
            other => line.push(other),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_edited_and_given_up() {
        let read = |mut keys: &[u8]| read_line(&mut keys).unwrap();
        assert_eq!(read(b"abc\rmore").as_deref(), Some("abc"));
        assert_eq!(read(b"abx\x7fc\n").as_deref(), Some("abc"));
        assert_eq!(read(b"wrong\x15abc\n").as_deref(), Some("abc"));
        assert_eq!(read(b"abc\x03"), None);
        assert_eq!(read(b"abc"), None);
    }
}
