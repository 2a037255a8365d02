//! The documents do not point at what is not there: relative links, headings, and paths of this
//! repository that stand in backticks.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        for (line, text) in prose(&document) {
            for target in links(&text) {
                if let Err(why) = check(&document, &target) {
                    wrong.push(format!("{}:{line}: {target}: {why}", name(&document)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_path_of_this_repository_that_is_named_exists() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for document in documents() {
        for (line, text) in prose(&document) {
            for code in text.split('`').skip(1).step_by(2) {
                let Some(path) = path(code) else {
                    continue;
                };
                seen += 1;
                if !root().join(path).exists() {
                    wrong.push(format!("{}:{line}: {path} does not exist", name(&document)));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} paths were found");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_constant_stands_in_the_file_that_is_named_with_it() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (line, text) in prose(&root().join("ARCHITECTURE.md")) {
        let mut constants = Vec::new();
        for code in text.split('`').skip(1).step_by(2) {
            let is_constant = code
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            if is_constant {
                constants.push(code);
            } else if let Some(path) = path(code) {
                let source = fs::read_to_string(root().join(path)).unwrap_or_default();
                for constant in constants.drain(..) {
                    seen += 1;
                    // In Rust and in JavaScript.
                    let forms = [format!("const {constant}:"), format!("const {constant} =")];
                    if !forms.iter().any(|form| source.contains(form)) {
                        wrong.push(format!("ARCHITECTURE.md:{line}: no {constant} in {path}"));
                    }
                }
            }
        }
    }
    assert!(seen > 30, "only {seen} constants were found");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_test_that_is_named_exists() {
    let tests: HashSet<String> = rust_files(&root().join("src"))
        .into_iter()
        .chain(rust_files(&root().join("tests")))
        .flat_map(|file| functions(&read(&file)))
        .collect();
    let mut wrong = Vec::new();
    for document in ["docs/rfc.md", "docs/apprtc.md", "docs/signaling.md"] {
        let mut seen = 0;
        for (line, text) in prose(&root().join(document)) {
            for code in text.split('`').skip(1).step_by(2) {
                // Names of tests are sentences; nothing else here has so many words.
                let is_name = code.matches('_').count() >= 3
                    && code
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
                if is_name
                    && code != "prefix_connections_per_second"
                    && code != "prefix_messages_per_second"
                {
                    seen += 1;
                    if !tests.contains(code) {
                        wrong.push(format!("{document}:{line}: no test is called {code}"));
                    }
                }
            }
        }
        assert!(seen > 50, "only {seen} tests were found in {document}");
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a readable text of ours")
}

fn name(document: &Path) -> String {
    document
        .strip_prefix(root())
        .expect("documents are ours")
        .display()
        .to_string()
}

/// Every document: those at the root and those in `docs/`.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = [root().to_owned(), root().join("docs")]
        .iter()
        .flat_map(|directory| fs::read_dir(directory).expect("a directory of ours"))
        .map(|entry| entry.expect("a directory of ours").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    found.sort();
    assert!(found.len() > 5, "only {found:?}");
    found
}

/// Numbered lines outside of code blocks.
fn prose(document: &Path) -> Vec<(usize, String)> {
    let text = read(document);
    let mut in_code = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            lines.push((number + 1, line.to_owned()));
        }
    }
    lines
}

/// The targets of `[text](target)` and `![text](target)`.
fn links(line: &str) -> Vec<String> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect()
}

fn check(document: &Path, target: &str) -> Result<(), String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => document.to_owned(),
        file => document.with_file_name("").join(file),
    };
    if !path.exists() {
        return Err("there is no such file".to_owned());
    }
    let found = heading.is_empty()
        || prose(&path).iter().any(|(_, line)| {
            let is_heading = line.starts_with('#') && anchor(line) == heading;
            // Rows of tables have none, and may be linked to all the same.
            is_heading || line.contains(&format!("<a id=\"{heading}\">"))
        });
    match found {
        true => Ok(()),
        false => Err("there is no such heading".to_owned()),
    }
}

/// A heading as GitHub turns it into a fragment.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// Code that is a path of this repository, without arguments, patterns and line numbers.
fn path(code: &str) -> Option<&str> {
    let path = code.split([' ', ':']).next()?;
    let ours = [
        "src/", "tests/", "web/", "docs/", "fuzz/", "benches/", "deploy/", ".ci/",
    ];
    (ours.iter().any(|prefix| path.starts_with(prefix)) && !path.contains(['*', '{', '<', '…']))
        .then_some(path)
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory of ours") {
            let path = entry.expect("a directory of ours").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn functions(source: &str) -> Vec<String> {
    source
        .split("fn ")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('(')?.0.to_owned()))
        .collect()
}
