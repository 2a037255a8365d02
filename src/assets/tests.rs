use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

static TABLE: &[Embedded] = &[
    Embedded {
        path: "about.html",
        content_type: "text/html; charset=utf-8",
        identity: Variant {
            bytes: b"about",
            etag: "\"a\"",
        },
        gzip: None,
        brotli: None,
    },
    Embedded {
        path: "docs/index.html",
        content_type: "text/html; charset=utf-8",
        identity: Variant {
            bytes: b"docs",
            etag: "\"d\"",
        },
        gzip: None,
        brotli: None,
    },
    Embedded {
        path: "index.html",
        content_type: "text/html; charset=utf-8",
        identity: Variant {
            bytes: b"plain",
            etag: "\"i\"",
        },
        gzip: Some(Variant {
            bytes: b"gz",
            etag: "\"i-gz\"",
        }),
        brotli: Some(Variant {
            bytes: b"br",
            etag: "\"i-br\"",
        }),
    },
];

fn embedded(path: &str, accept: &str) -> Option<(&'static [u8], String)> {
    match find_embedded(TABLE, path, Accepted::parse(accept)) {
        Lookup::Found(found) => match found.content {
            Content::Static(bytes) => Some((bytes, found.etag.into_owned())),
            Content::File(..) => None,
        },
        _ => None,
    }
}

#[test]
fn each_encoding_has_its_bytes_and_its_tag() {
    let want = |bytes: &'static [u8], tag: &str| Some((bytes, tag.to_owned()));
    assert_eq!(embedded("index.html", ""), want(b"plain", "\"i\""));
    assert_eq!(embedded("index.html", "gzip"), want(b"gz", "\"i-gz\""));
    assert_eq!(embedded("index.html", "br, gzip"), want(b"br", "\"i-br\""));
    assert_eq!(embedded("about.html", "br, gzip"), want(b"about", "\"a\""));
}

#[test]
fn short_names_stand_for_pages() {
    assert!(embedded("", "").is_some());
    assert!(embedded("about", "").is_some());
    assert!(embedded("docs/", "").is_some());
    assert!(matches!(
        find_embedded(TABLE, "docs", Accepted::PLAIN),
        Lookup::IsDirectory
    ));
    for missing in [
        "abou",
        "about/",
        "index",
        "index.htm",
        "/",
        "x/y",
        "docs/index",
    ] {
        let expected = missing == "index" || missing == "docs/index";
        assert_eq!(embedded(missing, "").is_some(), expected, "{missing}");
    }
}

#[test]
fn the_built_in_table_is_sorted_and_consistent() {
    assert!(BUILT_IN.is_sorted_by_key(|file| file.path));
    for file in BUILT_IN {
        for variant in [&file.gzip, &file.brotli].into_iter().flatten() {
            assert!(variant.bytes.len() < file.identity.bytes.len());
            assert_ne!(variant.etag, file.identity.etag);
        }
    }
}

struct Site(PathBuf);

impl Site {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "callbox-web-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("site/sub/.git")).unwrap();
        fs::create_dir_all(path.join("site/.well-known")).unwrap();
        for (name, content) in [
            ("secret.txt", "secret"),
            ("site/index.html", "home"),
            ("site/page.html", "page"),
            ("site/.env", "hidden"),
            ("site/.well-known/security.txt", "contact"),
            ("site/sub/index.html", "sub"),
            ("site/sub/.git/config", "hidden"),
        ] {
            fs::write(path.join(name), content).unwrap();
        }
        symlink("../secret.txt", path.join("site/out.txt")).unwrap();
        symlink("/etc", path.join("site/etc")).unwrap();
        symlink("sub/.git/config", path.join("site/shown.txt")).unwrap();
        symlink("page.html", path.join("site/inside.html")).unwrap();
        symlink("loop", path.join("site/loop")).unwrap();
        Self(path)
    }

    fn read(&self, path: &str) -> Option<String> {
        let directory = Directory::open(self.0.join("site")).unwrap();
        match directory.find(path).unwrap() {
            Lookup::Found(found) => match found.content {
                Content::File(file, _) => Some(io::read_to_string(file).unwrap()),
                Content::Static(_) => None,
            },
            Lookup::IsDirectory => Some("directory".to_owned()),
            Lookup::Missing => None,
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_directory_serves_its_files_and_index_pages() {
    let site = Site::new();
    for (path, content) in [
        ("", "home"),
        ("index.html", "home"),
        ("page.html", "page"),
        ("page", "page"),
        ("sub", "directory"),
        ("sub/", "sub"),
        (".well-known/security.txt", "contact"),
        ("inside.html", "page"),
    ] {
        assert_eq!(site.read(path).as_deref(), Some(content), "{path}");
    }
}

#[test]
fn a_directory_shows_nothing_outside_and_nothing_hidden() {
    let site = Site::new();
    for path in [
        "../secret.txt",
        "sub/../../secret.txt",
        "sub/../page.html",
        "./page.html",
        "/etc/hostname",
        "/",
        "out.txt",
        "etc/hostname",
        "etc/",
        ".env",
        "sub/.git/config",
        "sub/.well-known/x",
        "shown.txt",
        "loop",
        "page.html/",
        "page.html/x",
        "missing",
        "nul\0byte",
    ] {
        assert_eq!(site.read(path), None, "{path:?}");
    }
    assert_eq!(site.read(&"long".repeat(5000)), None);
}

#[test]
fn a_pipe_in_the_directory_neither_blocks_nor_is_served() {
    let site = Site::new();
    let pipe = site.0.join("site/pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert_eq!(site.read("pipe"), None);
}

#[test]
fn a_changed_file_has_another_tag() {
    let site = Site::new();
    let directory = Directory::open(site.0.join("site")).unwrap();
    let tag = || match directory.find("page.html").unwrap() {
        Lookup::Found(found) => found.etag.trim_start_matches("W/").to_owned(),
        other => panic!("{other:?}"),
    };
    let before = tag();
    assert_eq!(before, tag());
    fs::write(site.0.join("site/page.html"), "longer than before").unwrap();
    assert_ne!(before, tag());
}
