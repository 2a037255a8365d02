//! Requests that try to be two: what one reader takes for a body, another one takes for a request.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::application::{Application, OK, door};
use crate::door::within;

/// A request that must never be seen as one by the application.
const HIDDEN: &str = "GET /app/hidden HTTP/1.1\r\nHost: a\r\n\r\n";

/// Everything that the application saw as the start of a request.
fn requests(heard: &str) -> Vec<&str> {
    heard
        .lines()
        .filter(|line| line.ends_with(" HTTP/1.1"))
        .collect()
}

#[tokio::test]
async fn a_request_is_one_request_for_the_application_too() {
    let chunk = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    let length = HIDDEN.len();
    let attacks = [
        // Whoever believes the length sees a hidden request behind the last chunk.
        format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{chunk}"),
        // Whoever believes the chunks sees one behind the body.
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}",
            length + 5
        ),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
        format!("Content-Length: {length}, {length}\r\n\r\n{HIDDEN}"),
        format!("Content-Length: +{length}\r\n\r\n{HIDDEN}"),
        format!("Content-Length: -1\r\n\r\n{HIDDEN}"),
        format!("Content-Length: 0x{length:x}\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n{chunk}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n{chunk}"),
        format!("Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
        format!("Transfer-Encoding : chunked\r\n\r\n{chunk}"),
        format!("Transfer-Encoding:\x0bchunked\r\n\r\n{chunk}"),
        format!(" Transfer-Encoding: chunked\r\n\r\n{chunk}"),
        format!("X: y\r\n Transfer-Encoding: chunked\r\n\r\n{chunk}"),
        format!("X: y\rTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        format!("X: y\nTransfer-Encoding: chunked\r\n\r\n{chunk}"),
        format!("Connection: Content-Length\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
        format!(
            "Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
        ),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x};x=\"\r\n{HIDDEN}\r\n0\r\n\r\n",
            length
        ),
        format!("Transfer-Encoding: chunked\r\n\r\n-1\r\n{HIDDEN}"),
        format!("Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{HIDDEN}"),
        format!("Transfer-Encoding: chunked\r\n\r\n0\nx\r\n\r\n{HIDDEN}"),
        format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
        format!(
            "Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"
        ),
    ];
    for attack in attacks {
        let application = Application::saying(OK).await;
        let door = door(vec![application.at("/app")]).await;
        let mut visitor = door.tls(&["http/1.1"]).await;
        let request = format!("POST /app/seen HTTP/1.1\r\nHost: a\r\n{attack}");
        visitor.write_all(request.as_bytes()).await.unwrap();
        // An honest request on another connection of the visitor's, on the same one of ours.
        let honest = door.get("/app/honest", &[]).await;
        assert_eq!((honest.status, honest.text()), (200, "ok"), "{attack:?}");
        visitor.shutdown().await.unwrap();
        let _ = within(visitor.read_to_end(&mut Vec::new())).await;

        let heard = application.heard();
        let mut seen = requests(&heard);
        // A body that contains a request is a body: it stands behind its length or in a chunk.
        if let Some(at) = seen.iter().position(|line| line.contains("/hidden")) {
            let before = heard.split(HIDDEN).next().unwrap();
            let framed = before.ends_with(&format!("{length:x}\r\n"))
                || before.ends_with("\r\n\r\n")
                    && before.rsplit("POST ").next().is_some_and(|head| {
                        head.to_ascii_lowercase()
                            .contains(&format!("content-length: {length}\r\n"))
                    });
            // Pipelined behind a complete request, it is the visitor's own second one.
            let pipelined =
                heard.contains("GET /app/hidden HTTP/1.1\r\nhost: a\r\nx-forwarded-for");
            assert!(framed || pipelined, "{attack:?} became {heard:?}");
            seen.remove(at);
        }
        for line in seen {
            let known = ["POST /app/seen HTTP/1.1", "GET /app/honest HTTP/1.1"];
            assert!(known.contains(&line), "{attack:?} became {heard:?}");
        }
        let framings = |name: &str| {
            let post = heard.split("POST /app/seen").nth(1).unwrap_or_default();
            let head = post.split("\r\n\r\n").next().unwrap_or_default();
            head.to_ascii_lowercase().matches(name).count()
        };
        assert!(
            framings("content-length:") + framings("transfer-encoding:") <= 1,
            "{attack:?} became {heard:?}"
        );
    }
}

#[tokio::test]
async fn a_target_cannot_bring_a_second_line() {
    for target in [
        "/app/x HTTP/1.1\r\nX-Injected:",
        "/app/x%0d%0aX-Injected: 1",
        "/app/x\tHTTP/1.1",
        "http://evil.example/app/x",
        "//evil.example/app",
    ] {
        let application = Application::saying(OK).await;
        let door = door(vec![application.at("/app")]).await;
        let mut visitor = door.tls(&["http/1.1"]).await;
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        visitor.write_all(request.as_bytes()).await.unwrap();
        let _ = within(visitor.read_to_end(&mut Vec::new())).await;
        let heard = application.heard();
        let first = heard.lines().next().unwrap_or_default();
        assert!(
            first.is_empty() || (first.starts_with("GET /app/x") && first.ends_with(" HTTP/1.1")),
            "{target:?} became {heard:?}"
        );
        assert!(!heard.contains("http://"), "{heard}");
    }
}
