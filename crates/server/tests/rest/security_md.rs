//! The checklist of `docs/SECURITY.md` names tests that exist, and says plainly where there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The stems of all files of Rust below `crates`, with the names of the tests in each.
fn tests_by_file() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources(root().join("crates")) {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        found.entry(stem).or_default().extend(tests_of(&text));
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Functions that follow an attribute of a test, whatever other attributes stand between, also within `proptest!`.
fn tests_of(text: &str) -> Vec<String> {
    let (mut names, mut marked) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if marked && let Some(at) = line.find("fn ") {
            let name = line[at + 3..].split(['(', '<']).next().unwrap_or_default();
            names.push(name.to_owned());
            marked = false;
        }
    }
    names
}

/// `file::test`, `file::*` for all tests of a file.
fn is_test(name: &str, tests: &BTreeMap<String, Vec<String>>) -> bool {
    let Some((file, test)) = name.split_once("::") else { return false };
    let Some(known) = tests.get(file) else { return false };
    if test == "*" { !known.is_empty() } else { known.iter().any(|it| it == test) }
}

/// What is wrong with the page's checklist.
fn complaints(page: &str, tests: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let table = page.split("## The checklist").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    let mut wrong = Vec::new();
    for (row, held_by) in rows.filter(|(row, held_by)| !row.starts_with("box") && !held_by.starts_with("---")) {
        let named: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        for name in named.iter().filter(|name| name.contains("::")) {
            if !is_test(name, tests) {
                wrong.push(format!("{row}: there is no test {name}"));
            }
        }
        for path in named.iter().filter(|name| name.contains('/')) {
            if !root().join(path).exists() {
                wrong.push(format!("{row}: there is no {path}"));
            }
        }
        let says_why = held_by.starts_with("no test: ");
        if !says_why && !named.iter().any(|name| name.contains("::")) {
            wrong.push(format!("{row}: names no test, and does not say \"no test: \" and why"));
        }
    }
    wrong
}

#[test]
fn every_row_names_a_test_that_exists_or_says_that_there_is_none() {
    let page = std::fs::read_to_string(root().join("docs/SECURITY.md")).unwrap();
    let tests = tests_by_file();
    assert_eq!(complaints(&page, &tests), Vec::<String>::new());
    assert!(page.matches("::").count() > 40, "the checklist was not found");
}

fn sources(folder: PathBuf) -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// `sqlx` takes a text that was put together only where it is told that it is safe.
#[test]
fn no_sql_is_put_together() {
    let sources = sources(root().join("crates/server/src"));
    assert!(sources.iter().any(|(_, text)| text.contains("sqlx::query")), "the sources were not found");
    for (path, text) in sources {
        assert!(!text.contains("AssertSqlSafe"), "{} puts SQL together", path.display());
    }
}

/// A prefetch of the index is the one exception; its file says why it is sound.
#[test]
fn unsafe_code_is_one_prefetch() {
    let read = |path: PathBuf| std::fs::read_to_string(&path).unwrap().parse::<toml::Table>().unwrap();
    let workspace = read(root().join("Cargo.toml"));
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("deny"));
    for folder in std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()) {
        let manifest = read(folder.join("Cargo.toml"));
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{}", folder.display());
        for (path, text) in sources(folder.join("src")) {
            let is_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
            if is_root && !folder.ends_with("core") {
                assert!(text.contains("#![forbid(unsafe_code)]"), "{}", path.display());
            }
            if !path.ends_with("core/src/index/prefetch.rs") {
                assert!(!text.contains("unsafe {") && !text.contains("unsafe fn"), "{}", path.display());
            }
        }
    }
    assert!(root().join("Cargo.lock").exists());
}

#[test]
fn a_row_that_is_wrong_is_found() {
    let tests = BTreeMap::from([("auth".to_owned(), tests_of("#[tokio::test]\n#[cfg(unix)]\nasync fn real() {}"))]);
    let page = |held_by: &str| format!("## The checklist\n\n| box | held by |\n| --- | --- |\n| a | {held_by} |\n");
    assert!(complaints(&page("`auth::real`, `auth::*`"), &tests).is_empty());
    assert!(complaints(&page("no test: the compiler holds it"), &tests).is_empty());
    for wrong in ["`auth::gone`", "`gone::*`", "`auth::real`, `crates/gone.rs`", "`auth.rs`", "code"] {
        assert_eq!(complaints(&page(wrong), &tests).len(), 1, "{wrong}");
    }
}
