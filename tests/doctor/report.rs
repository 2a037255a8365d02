//! The ids of the report are a promise: each one is documented, and nothing else is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every id of a fault that the code can give.
fn in_code() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![root.join("doctor.rs")];
    let listed = fs::read_dir(root.join("doctor")).unwrap();
    files.extend(
        listed
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file()),
    );
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for literal in code.split('"').skip(1).step_by(2) {
            let is_id = literal.split_once('.').is_some_and(|(topic, fault)| {
                const TOPICS: [&str; 17] = [
                    "address",
                    "certificate",
                    "clock",
                    "dns",
                    "docker",
                    "doctor",
                    "door",
                    "files",
                    "firewall",
                    "kernel",
                    "outside",
                    "port",
                    "range",
                    "reach",
                    "relay",
                    "running",
                    "signaling",
                ];
                let word = |c: char| c.is_ascii_lowercase() || c == '-';
                (TOPICS.contains(&topic) || topic == "state")
                    && !fault.is_empty()
                    && fault.chars().all(word)
            });
            if is_id {
                found.insert(literal.to_owned());
            }
        }
    }
    found
}

/// The anchors of the troubleshooting page.
fn in_documents() -> BTreeSet<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/troubleshooting.md");
    let text = fs::read_to_string(page).unwrap();
    let anchors = text.split("<a id=\"").skip(1);
    anchors
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_id_of_the_doctor_is_documented_and_nothing_else() {
    let (code, documents) = (in_code(), in_documents());
    assert!(code.len() > 30, "{code:?}");
    assert_eq!(code, documents);
}
