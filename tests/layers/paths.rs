//! Rust text -> the paths inside the crate that it names.
//!
//! Not a parser: comments and literals are blanked, then every `crate::` and `super::` is followed
//! through `::`, names and braces. That is all a path can be.

use std::path::Path;

/// A path inside the crate.
#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    /// From the crate's root: `turn::core::Server`.
    pub(crate) path: String,
    /// Counted from one.
    pub(crate) line: usize,
}

/// `turn/core/nonce.rs` -> `turn::core::nonce`; `None` for files of tests.
pub(crate) fn module_of(file: &Path) -> Option<String> {
    let path = file.with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    let test = parts.iter().any(|part| part == "tests");
    (!test).then(|| parts.join("::"))
}

/// Everything of the crate that the text of `module` names outside its tests.
pub(crate) fn imports(module: &str, text: &str) -> Vec<Import> {
    let code = &shipped(text);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((start, root)) = next_root(code, at) {
        let (paths, end) = follow(code, start, module, root);
        let line = code[..start].matches('\n').count() + 1;
        found.extend(paths.into_iter().map(|path| Import { path, line }));
        at = end.max(start + 1);
    }
    found
}

/// The lines on which the text, outside of its tests, uses something of an outside module.
pub(crate) fn outside(module: &str, text: &str) -> Vec<usize> {
    let code = shipped(text);
    let uses = code.match_indices(module).filter(|(at, _)| {
        let before = code[..*at].chars().next_back();
        let after = code[at + module.len()..].chars().next();
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        // `crate::x::tokio` is not tokio.
        !inside(before) && before != Some(':') && !inside(after)
    });
    uses.map(|(at, _)| code[..at].matches('\n').count() + 1)
        .collect()
}

/// The code without comments, literals and the tests at its end.
fn shipped(text: &str) -> String {
    let mut code = blank(text);
    if let Some(tests) = code.find("#[cfg(test)]\nmod ") {
        code.truncate(tests);
    }
    code
}

#[derive(Clone, Copy)]
enum Root {
    Crate,
    Super,
}

/// The next word `crate` or `super` that a `::` follows.
fn next_root(code: &str, from: usize) -> Option<(usize, Root)> {
    let find = |word: &str| {
        code[from..]
            .match_indices(word)
            .map(|(offset, _)| from + offset)
            .find(|at| {
                let before = code[..*at].chars().next_back();
                let after = code[at + word.len()..].trim_start();
                // `pub(in crate::turn)` says who may look in, not where this looks.
                let visibility = code[..*at].ends_with("(in ");
                !visibility
                    && !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                    && after.starts_with("::")
            })
    };
    let crate_root = find("crate").map(|at| (at, Root::Crate));
    let super_root = find("super").map(|at| (at, Root::Super));
    crate_root
        .into_iter()
        .chain(super_root)
        .min_by_key(|(at, _)| *at)
}

/// Follows a path from its root; returns every leaf, and where the text goes on.
fn follow(code: &str, start: usize, module: &str, root: Root) -> (Vec<String>, usize) {
    let mut base: Vec<String> = Vec::new();
    let mut at = start + "crate".len();
    if let Root::Super = root {
        base = module.split("::").map(str::to_owned).collect();
        base.pop();
        while let Some(after) = code[at..].trim_start().strip_prefix("::") {
            let Some(after) = after.trim_start().strip_prefix("super") else {
                break;
            };
            base.pop();
            at = code.len() - after.len();
        }
    }
    let mut leaves = Vec::new();
    let end = tree(code, at, &base, &mut leaves);
    let paths = leaves.iter().filter(|leaf| !leaf.is_empty());
    (paths.map(|leaf| leaf.join("::")).collect(), end)
}

/// Reads `::name`, `::{...}` or `::*` as long as they follow each other.
fn tree(code: &str, mut at: usize, base: &[String], leaves: &mut Vec<Vec<String>>) -> usize {
    let mut path = base.to_vec();
    loop {
        let rest = code[at..].trim_start();
        let Some(rest) = rest.strip_prefix("::").map(str::trim_start) else {
            leaves.push(path);
            return at;
        };
        at = code.len() - rest.len();
        if rest.starts_with('{') {
            return braces(code, at + 1, &path, leaves);
        }
        let name = name(rest);
        if name.is_empty() {
            // A glob, or the generics of an expression.
            leaves.push(path);
            return at;
        }
        at += name.len();
        path.push(name.to_owned());
    }
}

/// Reads the comma-separated trees up to the closing brace.
fn braces(code: &str, mut at: usize, base: &[String], leaves: &mut Vec<Vec<String>>) -> usize {
    loop {
        let rest = code[at..].trim_start();
        at = code.len() - rest.len();
        match rest.chars().next() {
            None => return at,
            Some('}') => return at + 1,
            Some(c) if c.is_alphabetic() || c == '_' => {
                let name = name(rest);
                at += name.len();
                if name == "as" {
                    let rest = code[at..].trim_start();
                    at = code.len() - rest.len() + self::name(rest).len();
                    continue;
                }
                let mut path = base.to_vec();
                if name != "self" {
                    path.push(name.to_owned());
                }
                at = tree(code, at, &path, leaves);
            }
            Some(c) => at += c.len_utf8(),
        }
    }
}

/// The identifier at the front.
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The text with comments, strings and characters replaced by blanks, line breaks kept.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = literal(rest, code.chars().next_back());
        if length == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (skipped, after) = rest.split_at(length);
        code.extend(skipped.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    code
}

/// How long the comment, string or character at the front is; 0 when there is none.
fn literal(text: &str, before: Option<char>) -> usize {
    let until = |from: usize, end: &str| {
        text[from..]
            .find(end)
            .map_or(text.len(), |at| from + at + end.len())
    };
    let word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return block_comment(text);
    }
    if let Some(hashes) = raw_string(text).filter(|_| !word) {
        let open = text.find('"').map_or(text.len(), |quote| quote + 1);
        return until(open, &format!("\"{}", "#".repeat(hashes)));
    }
    if text.starts_with('"') {
        return quoted(text);
    }
    // 'a' and '\'' are characters, 'a alone is a lifetime.
    if text.starts_with('\'') {
        let mut chars = text.char_indices().skip(1);
        match (chars.next(), chars.next()) {
            (Some((_, '\\')), Some((at, c))) => return until(at + c.len_utf8(), "'"),
            (Some(_), Some((at, '\''))) => return at + 1,
            _ => {}
        }
    }
    0
}

/// The number of hashes of `r#"` and its like.
fn raw_string(text: &str) -> Option<usize> {
    let text = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let quote = text.find(|c| c != '#')?;
    text[quote..].starts_with('"').then_some(quote)
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(module: &str, text: &str) -> Vec<String> {
        imports(module, text)
            .into_iter()
            .map(|import| import.path)
            .collect()
    }

    #[test]
    fn a_plain_import_is_found_with_its_line() {
        let found = imports("app", "//! x\n\nuse std::io;\nuse crate::net::clock;\n");
        let expected = Import {
            path: "net::clock".to_owned(),
            line: 4,
        };
        assert_eq!(found, [expected]);
    }

    #[test]
    fn groups_nest_and_names_are_changed() {
        let text = "use crate::{\n    config::{self, settings::{Ice, Turn}},\n    net::clock as time,\n    limit::*,\n};";
        assert_eq!(
            paths("app", text),
            [
                "config",
                "config::settings::Ice",
                "config::settings::Turn",
                "net::clock",
                "limit"
            ]
        );
    }

    #[test]
    fn paths_in_code_count_as_imports() {
        let text = "fn f(x: &crate::turn::core::Server) -> u8 { crate::limit::most::<u8>(x) }";
        assert_eq!(paths("app", text), ["turn::core::Server", "limit::most"]);
        assert_eq!(paths("app", "pub(crate) fn f() {}"), Vec::<String>::new());
        assert_eq!(
            paths(
                "turn::core",
                "pub(in crate::turn) struct X(crate::limit::L);"
            ),
            ["limit::L"]
        );
    }

    #[test]
    fn super_leads_upwards_from_the_file() {
        assert_eq!(
            paths("turn::core::nonce", "use super::auth::Key;"),
            ["turn::core::auth::Key"]
        );
        assert_eq!(
            paths(
                "turn::core::nonce",
                "use super::super::io::{worker, stream};"
            ),
            ["turn::io::worker", "turn::io::stream"]
        );
    }

    #[test]
    fn comments_and_literals_name_nothing() {
        let text = "// crate::a::b\n/* crate::c /* crate::d */ crate::e */ let s = \"crate::f \\\" crate::g\";\n\
                    let r = r#\"crate::h \" crate::i\"#; let c = '\"'; use crate::limit; let l: &'a str;";
        assert_eq!(paths("app", text), ["limit"]);
    }

    #[test]
    fn outside_modules_are_found_as_whole_names() {
        let text = "//! tokio\nuse tokio::net;\nfn tokiox() { crate::tokio::x(); }\nfn f() -> tokio::X {}\n";
        assert_eq!(outside("tokio", text), [2, 4]);
        assert_eq!(outside("std::fs", "use std::fs::File; use std::fsx;"), [1]);
    }

    #[test]
    fn tests_of_a_module_may_name_anything() {
        let text = "use crate::limit;\n\n#[cfg(test)]\nmod tests {\n    use crate::app;\n}\n";
        assert_eq!(paths("ice", text), ["limit"]);
        assert_eq!(module_of(Path::new("turn/core/tests.rs")), None);
        assert_eq!(module_of(Path::new("turn/core/tests/pair.rs")), None);
        assert_eq!(
            module_of(Path::new("turn/core.rs")).as_deref(),
            Some("turn::core")
        );
    }
}
