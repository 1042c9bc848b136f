//! Every command of README and docs is one that the program understands.

use std::path::Path;

use crate::run;

/// The words of a line as a shell reads them, up to a comment, a redirection, or two spaces before an explanation.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut spaces = 0;
    for c in line.trim().chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, ' ') => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                (begun, spaces) = (false, spaces + 1);
                if spaces > 1 {
                    break;
                }
                continue;
            }
            (None, '#' | '<' | '>' | '|') if !begun => break,
            (None, c) => {
                word.push(c);
                begun = true;
            }
        }
        spaces = 0;
    }
    if begun {
        words.push(word);
    }
    words
}

/// The commands of the pages, each with the page's name, as a shell takes them: without the explanation that follows
/// after two spaces, and without lines that list alternatives.
pub(crate) fn documented() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut found = Vec::new();
    for page in pages.chain([root.join("README.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for line in text.lines().filter(|line| line.starts_with("    evs ")) {
            if line.contains('…') || line.contains(" | ") || line.contains('[') && !line.contains('\'') {
                continue;
            }
            found.push((page.display().to_string(), line_of(line.trim()).to_owned()));
        }
    }
    found
}

/// Up to two spaces that stand outside of quotes.
pub(crate) fn line_of(line: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') if before == ' ' => return line[..at].trim_end(),
            _ => {}
        }
        before = c;
    }
    line
}

/// The examples of every command's own help.
fn helped() -> Vec<(String, String)> {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(run(&["man", "--dir", home.path().to_str().unwrap()]).status, 0);
    let mut found = Vec::new();
    for page in std::fs::read_dir(home.path()).unwrap() {
        let name = page.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
        let words = if name == "evs-exit-codes" { vec!["exit-codes"] } else { name.split('-').skip(1).collect() };
        let help = run(&words.into_iter().chain(["-h"]).collect::<Vec<_>>()).stdout;
        let (usage, examples) = (help.find("Usage:").unwrap(), help.find("\nExamples:"));
        let options = help.find("\nOptions:").unwrap_or(help.len());
        assert!(examples.is_none_or(|examples| usage < examples && examples < options), "{name}: {help}");
        let lines = help[..options].lines().filter_map(|line| line.strip_prefix("  evs "));
        found.extend(lines.map(|line| (name.clone(), line_of(&format!("evs {line}")).to_owned())));
    }
    found
}

#[test]
fn every_documented_command_is_understood() {
    let mut tried = 0;
    for (page, line) in documented().into_iter().chain(helped()) {
        let mut words = words(&line);
        words.push("--help".to_owned());
        let ran = run(&words[1..].iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(ran.status, 0, "{page}: {line}\n{}", ran.stderr);
        tried += 1;
    }
    assert!(tried > 80, "only {tried} commands were found");
}

#[test]
fn lines_are_read_as_a_shell_reads_them() {
    assert_eq!(words("    evs tail user_1   # reads"), ["evs", "tail", "user_1"]);
    assert_eq!(
        words("    evs filter test --where 'a > 1  ' --since 1h  what it is"),
        ["evs", "filter", "test", "--where", "a > 1  ", "--since", "1h"]
    );
    assert_eq!(words("    evs token inspect < token"), ["evs", "token", "inspect"]);
    assert_eq!(line_of("evs token inspect < token  shows it"), "evs token inspect < token");
    assert_eq!(line_of("evs tail --where 'a  b'  what it is"), "evs tail --where 'a  b'");
}
