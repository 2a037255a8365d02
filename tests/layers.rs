//! The layers of ARCHITECTURE.md, enforced: who may import whom.
//!
//! Every path that leads through `crate::` or `super::` in `src/` is resolved to a module of the
//! table below and compared with what the importing module may see. Test code may see everything.

#[path = "layers/paths.rs"]
mod paths;
#[path = "layers/table.rs"]
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use paths::{imports, module_of, outside};
use table::{IMPURE, allowed, row};

#[test]
fn every_import_is_allowed_by_the_layers() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).expect("it was found there");
        let Some(module) = module_of(relative) else {
            continue;
        };
        seen += 1;
        let text = fs::read_to_string(&file).expect("source files are readable text");
        if row(&module).is_none() {
            wrong.push(format!(
                "src/{}: module {module} is in no layer",
                relative.display()
            ));
        }
        for import in imports(&module, &text) {
            if let Err(why) = allowed(&module, &import.path) {
                wrong.push(format!(
                    "src/{}:{}: {} -> {}: {why}",
                    relative.display(),
                    import.line,
                    module,
                    import.path
                ));
            }
        }
    }
    assert!(seen > 10, "only {seen} files were found");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_pure_layer_neither_waits_nor_asks_the_kernel() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let relative = file.strip_prefix(&source).expect("it was found there");
        let pure = module_of(relative)
            .is_some_and(|module| row(&module).is_some_and(|row| row.layer == 0));
        if !pure {
            continue;
        }
        let text = fs::read_to_string(&file).expect("source files are readable text");
        for name in IMPURE {
            for line in outside(name, &text) {
                wrong.push(format!("src/{}:{line}: {name}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
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
    files.sort();
    files
}
