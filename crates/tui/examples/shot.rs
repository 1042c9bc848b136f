//! A picture of the real dashboard: runs a program in a pseudo terminal, presses keys, and writes what its screen shows
//! as SVG or text.
//!
//! `shot --size 120x34 --keys '2 wait:3 down' --out picture.svg -- target/release/evs-tui --demo`

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use unicode_width::UnicodeWidthStr;

#[derive(Parser)]
struct Args {
    /// Columns and rows
    #[arg(long, default_value = "120x34")]
    size: String,
    /// Keys with spaces between; `wait:3` waits three seconds, `until:abc` for a text on the screen, `text:abc` types;
    /// a `_` is a space
    #[arg(long, default_value = "wait:5")]
    keys: String,
    /// The picture; `.svg`, or text for any other name
    #[arg(long)]
    out: PathBuf,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    program: Vec<String>,
}

/// A busy machine takes long, a wrong text for ever.
const UNTIL_MAX: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (columns, rows) = args.size.split_once('x').context("--size is such as 120x34")?;
    let (columns, rows): (u16, u16) = (columns.parse()?, rows.parse()?);
    let pair = native_pty_system().openpty(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 })?;
    // A path with a slash is one from here; without, it is looked for as a shell would.
    let program = &args.program[0];
    let program = if program.contains('/') { std::fs::canonicalize(program)? } else { program.into() };
    let mut command = CommandBuilder::new(program);
    command.args(&args.program[1..]);
    command.env("TERM", "xterm-256color");
    command.env_remove("NO_COLOR");
    command.cwd(std::env::current_dir()?);
    let mut child = pair.slave.spawn_command(command)?;
    drop(pair.slave);
    let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
    let mut output = pair.master.try_clone_reader()?;
    let theirs = parser.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(n @ 1..) = output.read(&mut bytes) {
            theirs.lock().expect("nobody panics with it").process(&bytes[..n]);
        }
    });
    let mut keys = pair.master.take_writer()?;
    for word in args.keys.split_whitespace() {
        match word.split_once(':') {
            Some(("wait", seconds)) => std::thread::sleep(Duration::from_secs_f64(seconds.parse()?)),
            Some(("until", text)) => {
                let text = text.replace('_', " ");
                let start = std::time::Instant::now();
                while !parser.lock().expect("nobody panics with it").screen().contents().contains(&text) {
                    anyhow::ensure!(start.elapsed() < UNTIL_MAX, "{text:?} did not come on the screen");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            Some(("text", text)) => {
                keys.write_all(text.replace('_', " ").as_bytes())?;
            }
            _ => keys.write_all(bytes(word)?.as_bytes())?,
        }
        keys.flush()?;
        std::thread::sleep(Duration::from_millis(150));
    }
    let picture = {
        let parser = parser.lock().expect("nobody panics with it");
        if args.out.extension().is_some_and(|e| e == "svg") { svg(parser.screen()) } else { text(parser.screen()) }
    };
    std::fs::write(&args.out, picture).with_context(|| format!("cannot write {}", args.out.display()))?;
    keys.write_all(b"\x03")?;
    keys.flush()?;
    child.wait()?;
    Ok(())
}

fn bytes(key: &str) -> anyhow::Result<String> {
    Ok(match key {
        "enter" => "\r".into(),
        "esc" => "\x1b".into(),
        "tab" => "\t".into(),
        "space" => " ".into(),
        "up" => "\x1b[A".into(),
        "down" => "\x1b[B".into(),
        key if key.chars().count() == 1 => key.into(),
        key => anyhow::bail!("no key {key:?}"),
    })
}

fn text(screen: &vt100::Screen) -> String {
    screen.contents().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 18.0;
const BACKGROUND: &str = "#101418";
const FOREGROUND: &str = "#c8d0d8";

/// Runs of cells of one style, each as wide as its columns, whatever font draws it.
fn svg(screen: &vt100::Screen) -> String {
    let (rows, columns) = screen.size();
    let (width, height) = (f64::from(columns) * WIDTH + 16.0, f64::from(rows) * HEIGHT + 16.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace, \
         'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"14\">\n<rect width=\"{width}\" height=\"{height}\" \
         rx=\"6\" fill=\"{BACKGROUND}\"/>\n"
    );
    for row in 0..rows {
        let mut column = 0;
        while column < columns {
            let start = column;
            let style = style(screen, row, column);
            let mut run = String::new();
            while column < columns && self::style(screen, row, column) == style {
                let cell = screen.cell(row, column);
                let contents = cell.map_or("", |c| c.contents());
                run.push_str(if contents.is_empty() { " " } else { contents });
                column += u16::try_from(contents.width().max(1)).unwrap_or(1);
            }
            let (x, y) = (8.0 + f64::from(start) * WIDTH, 8.0 + f64::from(row) * HEIGHT);
            let length = f64::from(column - start) * WIDTH;
            if style.background != BACKGROUND {
                let _ = writeln!(
                    out,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{HEIGHT}\" fill=\"{}\"/>",
                    style.background
                );
            }
            if run.trim().is_empty() {
                continue;
            }
            let bold = if style.bold { " font-weight=\"bold\"" } else { "" };
            let line = if style.underline { " text-decoration=\"underline\"" } else { "" };
            let dim = if style.dim { " opacity=\"0.6\"" } else { "" };
            let escaped = run.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" fill=\"{}\"{bold}{line}{dim} textLength=\"{length:.1}\" \
                 lengthAdjust=\"spacingAndGlyphs\" xml:space=\"preserve\">{escaped}</text>",
                y + 13.5,
                style.foreground
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

#[derive(PartialEq)]
struct Style {
    foreground: &'static str,
    background: &'static str,
    bold: bool,
    dim: bool,
    underline: bool,
}

fn style(screen: &vt100::Screen, row: u16, column: u16) -> Style {
    let Some(cell) = screen.cell(row, column) else {
        return Style { foreground: FOREGROUND, background: BACKGROUND, bold: false, dim: false, underline: false };
    };
    let mut foreground = color(cell.fgcolor(), FOREGROUND);
    let mut background = color(cell.bgcolor(), BACKGROUND);
    if cell.inverse() {
        std::mem::swap(&mut foreground, &mut background);
    }
    Style { foreground, background, bold: cell.bold(), dim: cell.dim(), underline: cell.underline() }
}

/// The sixteen colours, as a common terminal has them.
fn color(color: vt100::Color, default: &'static str) -> &'static str {
    const PALETTE: [&str; 16] = [
        "#1c2128", "#e5534b", "#57ab5a", "#c69026", "#539bf5", "#b083f0", "#39c5cf", "#c8d0d8", "#5a6673", "#ff7b72",
        "#7ee787", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#ffffff",
    ];
    match color {
        vt100::Color::Idx(at) => PALETTE.get(usize::from(at)).copied().unwrap_or(default),
        _ => default,
    }
}
