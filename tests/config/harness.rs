//! Runs the program on a file of settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of this test's own.
pub(crate) fn directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("config-{}-{number}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Runs callbox in a directory with nothing but these variables.
pub(crate) fn callbox(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_callbox"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("XDG_STATE_HOME", directory)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

/// `callbox check` of a file in the working directory.
pub(crate) fn check(text: &str, variables: &[(&str, &str)]) -> Output {
    let directory = directory();
    fs::write(directory.join("appliance.toml"), text).unwrap();
    callbox(&directory, &["check"], variables)
}

/// Puts a certificate and its key into a directory.
pub(crate) fn certificate(directory: &Path) {
    let made = rcgen::generate_simple_self_signed(["call.example.com".to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// What a good configuration puts out.
pub(crate) fn good(text: &str, variables: &[(&str, &str)]) -> String {
    let output = check(text, variables);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// What is said about a bad one, a line each.
pub(crate) fn bad(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let output = check(text, variables);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stdout, b"");
    let errors = String::from_utf8(output.stderr).unwrap();
    errors.lines().map(str::to_owned).collect()
}

/// The assignments of TOML text as `section.key` -> value, `check`'s remarks removed.
pub(crate) fn assignments(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = format!("{name}.");
        } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#'))
        {
            let value = value.split("  # ").next().unwrap_or(value).trim();
            found.insert(format!("{section}{key}"), value.to_owned());
        }
    }
    found
}
