//! A directory as a web site: parts, dates, other sites' pages, applications of one page.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use callbox::assets::Assets;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::door::{Door, Scratch, Setup, within};

/// A site of a few files that were written long ago.
struct Site {
    scratch: Scratch,
}

impl Site {
    fn new() -> Self {
        let scratch = Scratch::new("site");
        let site = Self { scratch };
        fs::create_dir_all(site.path("sub")).unwrap();
        fs::write(site.path("index.html"), "first page").unwrap();
        fs::write(site.path("digits.txt"), "0123456789").unwrap();
        fs::write(site.path("empty.txt"), "").unwrap();
        fs::write(site.path("sub/index.html"), "sub page").unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.0.join("site").join(name)
    }

    fn setup(&self) -> Setup {
        Setup {
            assets: Assets::directory(self.path("")).unwrap(),
            ..Setup::default()
        }
    }
}

#[tokio::test]
async fn a_part_of_a_file_is_given_to_whoever_asks_for_one() {
    let site = Site::new();
    let door = site.setup().open().await;
    let whole = door.get("/digits.txt", &[]).await;
    assert_eq!((whole.status, whole.text()), (200, "0123456789"));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    for (range, status, body, content_range) in [
        ("bytes=0-0", 206, "0", Some("bytes 0-0/10")),
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=5-99", 206, "56789", Some("bytes 5-9/10")),
        (
            "bytes=10-",
            416,
            "There is less of it\n",
            Some("bytes */10"),
        ),
        // Several parts are not put together.
        ("bytes=0-1,4-5", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=4-2", 200, "0123456789", None),
    ] {
        let reply = door.get("/digits.txt", &[&format!("Range: {range}")]).await;
        assert_eq!((reply.status, reply.text()), (status, body), "{range}");
        assert_eq!(reply.header("content-range"), content_range, "{range}");
        let length = body.len().to_string();
        assert_eq!(reply.header("content-length"), Some(&*length), "{range}");
    }
    let nothing = door.get("/empty.txt", &["Range: bytes=0-"]).await;
    assert_eq!(nothing.status, 416);
    let head = door
        .ask(
            "HEAD /digits.txt HTTP/1.1\r\nHost: localhost\r\nRange: bytes=2-4\r\n\
             Connection: close\r\n\r\n",
        )
        .await;
    assert_eq!((head.status, head.text()), (200, ""));
    assert_eq!(head.header("content-length"), Some("10"));
}

#[tokio::test]
async fn a_part_of_a_page_in_the_binary_is_given_uncompressed_only() {
    let door = Door::open().await;
    let reply = door.get("/app.js", &["Range: bytes=6-"]).await;
    assert_eq!((reply.status, reply.text()), (206, "code"));
    let compressed = ["Accept-Encoding: br", "Range: bytes=1-"];
    let reply = door.get("/app.js", &compressed).await;
    assert_eq!((reply.status, reply.text()), (200, "br"));
    assert_eq!(reply.header("accept-ranges"), None);
}

#[tokio::test]
async fn a_part_of_an_old_state_is_not_joined_to_a_new_one() {
    let site = Site::new();
    let door = site.setup().open().await;
    let part = "Range: bytes=5-";
    let first = door.get("/digits.txt", &[]).await;
    let etag = first.header("etag").unwrap().to_owned();
    let date = first.header("last-modified").unwrap().to_owned();
    // Just written: the next write may come within the same tick of the clock.
    assert!(etag.starts_with("W/"), "{etag}");
    for condition in [&etag, &date] {
        let lines = [part, &format!("If-Range: {condition}")];
        assert_eq!(door.get("/digits.txt", &lines).await.status, 200);
    }
    // Once that tick is over the same tag is strong.
    let strong = etag.trim_start_matches("W/").to_owned();
    let end = callbox::net::clock::now() + crate::door::PATIENCE;
    while door.get("/digits.txt", &[]).await.header("etag") != Some(&strong) {
        assert!(callbox::net::clock::now() < end, "it stays weak");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    for condition in [&strong, &date] {
        let lines = [part, &format!("If-Range: {condition}")];
        let reply = door.get("/digits.txt", &lines).await;
        assert_eq!((reply.status, reply.text()), (206, "56789"));
    }
    fs::write(site.path("digits.txt"), "abcdefghij").unwrap();
    let lines = [part, &format!("If-Range: {strong}")];
    let reply = door.get("/digits.txt", &lines).await;
    assert_eq!((reply.status, reply.text()), (200, "abcdefghij"));
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let site = Site::new();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
    let file = File::options()
        .append(true)
        .open(site.path("digits.txt"))
        .unwrap();
    file.set_modified(long_ago).unwrap();
    let door = site.setup().open().await;
    let first = door.get("/digits.txt", &[]).await;
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(first.header("last-modified"), Some(date));
    let etag = first.header("etag").unwrap();
    for (line, status) in [
        (format!("If-Modified-Since: {date}"), 304),
        (
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT".to_owned(),
            200,
        ),
        (format!("If-None-Match: {etag}"), 304),
        ("If-None-Match: \"other\"".to_owned(), 200),
        // Known is known, whichever part is asked for.
        (format!("If-None-Match: {etag}\r\nRange: bytes=0-1"), 304),
        (
            format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {date}"),
            200,
        ),
    ] {
        let reply = door.get("/digits.txt", &[&line]).await;
        assert_eq!(reply.status, status, "{line}");
        if status == 304 {
            assert_eq!(reply.text(), "");
            assert_eq!(reply.header("etag"), Some(etag));
        }
    }
}

#[tokio::test]
async fn pages_of_named_sites_may_read_the_files() {
    let site = Site::new();
    let mut setup = site.setup();
    setup.settings.web.cors_origins = vec!["https://friend.example".to_owned()];
    let door = setup.open().await;
    let from = async |origin: &str| {
        door.get("/digits.txt", &[&format!("Origin: {origin}")])
            .await
    };
    let friend = from("https://friend.example").await;
    let allowed = "access-control-allow-origin";
    assert_eq!(friend.header(allowed), Some("https://friend.example"));
    assert_eq!(friend.header("vary"), Some("origin"));
    let other = from("https://other.example").await;
    assert_eq!((other.status, other.header(allowed)), (200, None));
    assert_eq!(other.header("vary"), Some("origin"));
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /digits.txt HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\n\
             Connection: close\r\n\r\n"
        )
    };
    let reply = door.ask(&preflight("https://friend.example")).await;
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header(allowed), Some("https://friend.example"));
    assert!(
        reply
            .header("access-control-allow-headers")
            .unwrap()
            .contains("range")
    );
    let reply = door.ask(&preflight("https://other.example")).await;
    assert_eq!(reply.header("access-control-allow-methods"), None);
    // Whose pages may ask for credentials is another setting.
    let ice = door
        .get("/ice", &["Origin: https://elsewhere.example"])
        .await;
    assert_eq!(ice.status, 403);

    let mut setup = site.setup();
    setup.settings.web.cors_origins = vec!["*".to_owned()];
    let door = setup.open().await;
    let reply = door
        .get("/digits.txt", &["Origin: https://a.example"])
        .await;
    assert_eq!(reply.header(allowed), Some("*"));
    let door = Door::open().await;
    let reply = door.get("/app.js", &["Origin: https://a.example"]).await;
    assert_eq!(reply.header(allowed), None);
    assert_eq!(door.ask(&preflight("https://a.example")).await.status, 405);
}

#[tokio::test]
async fn an_application_of_one_page_reads_every_path_itself() {
    let site = Site::new();
    let mut setup = site.setup();
    setup.settings.web.spa = true;
    setup.settings.web.csp = Some("default-src 'self'".to_owned());
    let door = setup.open().await;
    for (path, accept, expected) in [
        ("/", "*/*", (200, "first page")),
        ("/users/7", "*/*", (200, "first page")),
        ("/users/jane.doe", "text/html", (200, "first page")),
        ("/digits.txt", "text/html", (200, "0123456789")),
        ("/sub/", "*/*", (200, "sub page")),
        ("/missing.js", "*/*", (404, "Not found\n")),
        ("/%2e%2e/secret", "text/html", (404, "Not found\n")),
        ("/ws", "text/html", (426, "This is a WebSocket\n")),
    ] {
        let reply = door.get(path, &[&format!("Accept: {accept}")]).await;
        assert_eq!((reply.status, reply.text()), expected, "{path}");
        assert_eq!(
            reply.header("content-security-policy"),
            Some("default-src 'self'")
        );
    }
}

#[tokio::test]
async fn neither_a_listing_nor_anything_but_files_is_shown() {
    let site = Site::new();
    fs::create_dir_all(site.path("bare")).unwrap();
    fs::write(site.path("bare/file.txt"), "x").unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(site.path("pipe"))
            .status()
            .unwrap()
            .success()
    );
    symlink("/dev/zero", site.path("zero")).unwrap();
    symlink("/etc/passwd", site.path("users.txt")).unwrap();
    let door = site.setup().open().await;
    for path in [
        "/bare/",
        "/pipe",
        "/zero",
        "/users.txt",
        "/bare/..",
        "/bare/%2e%2e/",
    ] {
        let reply = door.get(path, &[]).await;
        assert_eq!((reply.status, reply.text()), (404, "Not found\n"), "{path}");
    }
}

#[tokio::test]
async fn a_large_file_takes_no_memory_however_slowly_it_is_read() {
    const LARGE: u64 = 200_000_000;
    const LITTLE: u64 = 40_000_000;
    let resident = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
            * 1024
    };
    let site = Site::new();
    // Without blocks on the disk.
    let file = File::create(site.path("film.mp4")).unwrap();
    file.set_len(LARGE).unwrap();
    let door = site.setup().open().await;
    let mut slow = Vec::new();
    let before = resident();
    for _ in 0..8 {
        let mut stream = door.tls(&["http/1.1"]).await;
        let request = b"GET /film.mp4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        within(stream.read_exact(&mut [0; 100])).await.unwrap();
        slow.push(stream);
    }
    let mut quick = door.tls(&["http/1.1"]).await;
    let request = b"GET /film.mp4 HTTP/1.1\r\nHost: localhost\r\nRange: bytes=-50000000\r\n\
        Connection: close\r\n\r\n";
    quick.write_all(request).await.unwrap();
    let (mut read, mut most) = (0, 0);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = within(quick.read(&mut piece)).await.unwrap();
        if length == 0 {
            break;
        }
        read += length;
        most = most.max(resident());
    }
    assert!((50_000_000..50_001_000).contains(&read), "{read}");
    assert!(most < before + LITTLE, "{before} bytes became {most}");
}
