use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of the test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "callbox-state-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_missing_directory_is_made_for_its_owner_alone() {
    let scratch = Scratch::new();
    let path = scratch.0.join("deep/er");
    let state = StateDir::open(&path).unwrap();
    assert_eq!(state.path(), path);
    assert_eq!(mode(&path), 0o700);
}

#[test]
fn files_are_private_replaced_whole_and_leave_nothing_behind() {
    let scratch = Scratch::new();
    let state = StateDir::open(&scratch.0).unwrap();
    assert_eq!(state.read("a").unwrap(), None);
    state.write_private("a", b"one").unwrap();
    // What a crash in mid-write would have left.
    fs::write(scratch.0.join(".a.new"), b"half").unwrap();
    state.write_private("a", b"two").unwrap();
    assert_eq!(state.read("a").unwrap().unwrap(), b"two");
    assert_eq!(mode(&scratch.0.join("a")), 0o600);
    let mut names: Vec<_> = fs::read_dir(&scratch.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "lock"]);
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let scratch = Scratch::new();
    let first = StateDir::open(&scratch.0).unwrap();
    let error = StateDir::open(&scratch.0).unwrap_err();
    let pid = std::process::id();
    assert!(
        error.to_string().contains(&format!("process {pid}")),
        "{error}"
    );
    drop(first);
    StateDir::open(&scratch.0).unwrap();
}

#[test]
fn looking_needs_no_lock_and_cannot_write() {
    let scratch = Scratch::new();
    assert!(matches!(
        StateDir::inspect(&scratch.0),
        Err(StateError::Directory { .. })
    ));
    let owner = StateDir::open(&scratch.0).unwrap();
    let secret = owner.secret("key", 32).unwrap();
    let looker = StateDir::inspect(&scratch.0).unwrap();
    assert_eq!(looker.secret("key", 32).unwrap(), secret);
    assert!(matches!(
        looker.secret("other", 32),
        Err(StateError::ReadOnly { .. })
    ));
}

#[test]
fn a_secret_is_made_once_and_is_the_text_of_its_file() {
    let scratch = Scratch::new();
    let state = StateDir::open(&scratch.0).unwrap();
    let secret = state.secret("key", 32).unwrap();
    assert_eq!(secret.expose().len(), 64);
    assert_eq!(state.secret("key", 32).unwrap(), secret);
    assert_ne!(state.secret("other", 32).unwrap(), secret);
    let file = fs::read(scratch.0.join("key")).unwrap();
    assert_eq!(file.trim_ascii(), secret.expose());
    assert_eq!(mode(&scratch.0.join("key")), 0o600);
}

#[test]
fn an_emptied_secret_is_an_error_and_not_an_empty_key() {
    let scratch = Scratch::new();
    let state = StateDir::open(&scratch.0).unwrap();
    for content in [&b""[..], b"\n", b"short", b"0123456789abcdef\0"] {
        state.write_private("key", content).unwrap();
        assert!(matches!(
            state.secret("key", 32),
            Err(StateError::Damaged { .. })
        ));
    }
}
