//! Pages: built in, and from a directory.

use std::fs;
use std::os::unix::fs::symlink;

use callbox::assets::Assets;

use crate::door::{Door, Scratch, Setup};

#[tokio::test]
async fn the_page_is_at_the_root_and_under_every_room() {
    let door = Door::open().await;
    for path in ["/", "/r/blue-sky", "/r/%E5%AE%A4", "/index.html", "/?x=1"] {
        let reply = door.get(path, &[]).await;
        assert_eq!(
            (reply.status, reply.text()),
            (200, "<!doctype html>call"),
            "{path}"
        );
        assert_eq!(
            reply.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
        assert_eq!(reply.header("vary"), None);
    }
}

#[tokio::test]
async fn every_file_that_the_calling_page_names_is_there_under_a_path_of_ours() {
    let setup = Setup {
        assets: Assets::built_in(),
        ..Setup::default()
    };
    let door = setup.open().await;
    let page = door.get("/r/room", &[]).await;
    let mut files = Vec::new();
    for part in page.text().split(['"', '\'']) {
        if part.contains('.') && part.starts_with('/') {
            files.push(part);
        }
    }
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        // A proxy for the root takes every other path.
        assert!(file.starts_with("/r/_/"), "{file}");
        assert_eq!(door.get(file, &[]).await.status, 200, "{file}");
    }
}

#[tokio::test]
async fn each_client_gets_the_encoding_it_reads_with_its_own_tag() {
    let door = Door::open().await;
    for (accept, encoding, etag, body) in [
        ("gzip, deflate, br", Some("br"), "\"js-br\"", "br"),
        ("gzip", Some("gzip"), "\"js-gz\"", "gzip"),
        ("br;q=0, gzip;q=0.1", Some("gzip"), "\"js-gz\"", "gzip"),
        ("identity", None, "\"js\"", "plain code"),
    ] {
        let accept = format!("Accept-Encoding: {accept}");
        let reply = door.get("/app.js", &[&accept]).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-encoding"), encoding, "{accept}");
        assert_eq!(reply.header("etag"), Some(etag));
        assert_eq!(reply.header("vary"), Some("accept-encoding"));
        assert_eq!(
            reply.header("content-type"),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(reply.text(), body);

        let again = format!("If-None-Match: \"other\", {etag}");
        let reply = door.get("/app.js", &[&accept, &again]).await;
        assert_eq!((reply.status, reply.text()), (304, ""));
        assert_eq!(reply.header("etag"), Some(etag));
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
        assert_eq!(reply.header("vary"), Some("accept-encoding"));
    }
    // The tag of one encoding says nothing about another.
    let stale = door
        .get(
            "/app.js",
            &["Accept-Encoding: br", "If-None-Match: \"js-gz\""],
        )
        .await;
    assert_eq!(stale.status, 200);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let door = Door::open().await;
    let reply = door
        .ask("HEAD /app.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!((reply.status, reply.text()), (200, ""));
    assert_eq!(reply.header("content-length"), Some("10"));
    assert_eq!(reply.header("etag"), Some("\"js\""));
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let door = Door::open().await;
    for path in ["/", "/app.js", "/missing", "/ice", "/ws", "/%2e%2e/x"] {
        let reply = door.get(path, &[]).await;
        let csp = reply.header("content-security-policy").unwrap();
        assert!(csp.contains("default-src 'self'"), "{csp}");
        assert!(csp.contains("frame-ancestors 'none'"), "{csp}");
        assert!(!csp.contains("unsafe"), "{csp}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("same-origin"));
        assert_eq!(
            reply.header("cross-origin-opener-policy"),
            Some("same-origin")
        );
        let permissions = reply.header("permissions-policy").unwrap();
        assert!(permissions.contains("camera=(self), microphone=(self)"));
        assert_eq!(reply.header("server"), None);
        assert_eq!(reply.header("strict-transport-security"), None);
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_is_told_the_right_ones() {
    let door = Door::open().await;
    for path in [
        "/missing", "/app.js/", "/r/a/b", "/..", "//app.js", "/a%2fb",
    ] {
        assert_eq!(door.get(path, &[]).await.status, 404, "{path}");
    }
    let reply = door
        .ask("DELETE /app.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(
        (reply.status, reply.header("allow")),
        (405, Some("GET, HEAD"))
    );
}

#[tokio::test]
async fn a_directory_is_served_instead_and_nothing_outside_of_it() {
    let scratch = Scratch::new("web");
    let site = scratch.0.join("site");
    fs::create_dir_all(site.join("sub")).unwrap();
    fs::write(scratch.0.join("secret.txt"), "secret").unwrap();
    fs::write(site.join("index.html"), "their page").unwrap();
    fs::write(site.join("sub/index.html"), "their sub page").unwrap();
    fs::write(site.join(".env"), "secret").unwrap();
    let film: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 7) as u8).collect();
    fs::write(site.join("film.webm"), &film).unwrap();
    symlink("../secret.txt", site.join("link.txt")).unwrap();
    symlink("..", site.join("up")).unwrap();
    let setup = Setup {
        assets: Assets::directory(&site).unwrap(),
        ..Setup::default()
    };
    let door = setup.open().await;

    for (path, body) in [
        ("/", "their page"),
        ("/r/room", "their page"),
        ("/sub/", "their sub page"),
    ] {
        let reply = door.get(path, &[]).await;
        assert_eq!((reply.status, reply.text()), (200, body), "{path}");
        assert_eq!(reply.header("content-security-policy"), None);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        let etag = reply.header("etag").unwrap();
        let again = door.get(path, &[&format!("If-None-Match: {etag}")]).await;
        assert_eq!(again.status, 304);
    }
    let reply = door.get("/sub", &[]).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (308, Some("/sub/"))
    );

    let reply = door.get("/film.webm", &[]).await;
    assert_eq!(reply.header("content-type"), Some("video/webm"));
    assert_eq!(reply.body, film);

    for path in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/sub/..%2f..%2fsecret.txt",
        "/sub/%2e%2e/%2e%2e/secret.txt",
        "/..%5csecret.txt",
        "/link.txt",
        "/up/secret.txt",
        "/up/site/index.html/../../secret.txt",
        "//etc/passwd",
        "/.env",
        "/%2eenv",
        "/index.html%00.txt",
        "/missing",
    ] {
        let reply = door.get(path, &[]).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(!reply.text().contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn a_request_says_once_and_clearly_which_host_it_is_for() {
    let door = Door::open().await;
    for (hosts, status) in [
        ("Host: localhost\r\n", 200),
        ("", 400),
        ("Host: localhost\r\nHost: other\r\n", 400),
        ("Host: a/b\r\n", 400),
        ("Host: \r\n", 400),
    ] {
        let request = format!("GET / HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
        assert_eq!(door.ask(&request).await.status, status, "{hosts:?}");
    }
}
