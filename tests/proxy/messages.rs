//! What reaches the application, and what comes back.

use callbox::config::settings::Upstream;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::application::{Application, OK, answer, ask_on, door, header, proxy, status};
use crate::door::{Door, Scratch, Setup, within};

/// Answers with the head of the request as its body.
async fn mirror() -> Application {
    Application::start(|_, mut connection| async move {
        while let Some((head, body)) = connection.request().await {
            let body = format!("{head}{}", String::from_utf8_lossy(&body));
            connection
                .say(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nServer: app/1.0\r\n\
                     Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                     Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-App: yes\r\n\r\n{body}",
                    body.len()
                ))
                .await;
        }
    })
    .await
}

#[tokio::test]
async fn the_application_sees_the_visitor_and_not_what_the_visitor_claims() {
    let application = mirror().await;
    let door = door(vec![application.at("/app")]).await;
    let reply = door
        .get(
            "/app/x%2Fy/?q=%20&r",
            &[
                "X-Forwarded-For: 10.9.9.9",
                "Forwarded: for=10.9.9.9",
                "X-Real-IP: 10.9.9.9",
                "X-Forwarded-Proto: http",
                "X_Forwarded_Host: evil.example",
                "Connection: X-Secret",
                "X-Secret: 1",
                "Cookie: session=1",
            ],
        )
        .await;
    assert_eq!(reply.status, 200);
    let seen = reply.text();
    let host = format!("localhost:{}", door.https.port());
    // The path as it came, not as it was understood.
    assert!(
        seen.starts_with("GET /app/x%2Fy/?q=%20&r HTTP/1.1\r\n"),
        "{seen}"
    );
    assert_eq!(header(seen, "host"), Some(&*host));
    assert_eq!(header(seen, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(seen, "x-real-ip"), Some("127.0.0.1"));
    assert_eq!(header(seen, "x-forwarded-proto"), Some("https"));
    assert_eq!(header(seen, "x-forwarded-host"), Some(&*host));
    let forwarded = format!("for=127.0.0.1;host=\"{host}\";proto=https");
    assert_eq!(header(seen, "forwarded"), Some(&*forwarded));
    assert_eq!(header(seen, "cookie"), Some("session=1"));
    for gone in ["10.9.9.9", "evil", "x-secret", "connection:"] {
        assert!(
            !seen.to_ascii_lowercase().contains(gone),
            "{gone} in {seen}"
        );
    }
}

#[tokio::test]
async fn an_answer_comes_back_as_the_application_gave_it() {
    let application = mirror().await;
    let door = door(vec![application.at("/app")]).await;
    let reply = door.get("/app", &[]).await;
    assert_eq!(reply.header("x-app"), Some("yes"));
    let cookies: Vec<_> = reply
        .headers
        .iter()
        .filter(|(name, _)| name == "set-cookie")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    for gone in ["server", "x-hop", "keep-alive", "transfer-encoding"] {
        assert_eq!(reply.header(gone), None, "{gone}");
    }
    // Its pages were written without our policies in mind.
    for ours in ["content-security-policy", "permissions-policy"] {
        assert_eq!(reply.header(ours), None, "{ours}");
    }
}

#[tokio::test]
async fn the_longest_path_wins_and_what_is_ours_stays_ours() {
    let answer = |name: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        )
    };
    let mut applications = Vec::new();
    for name in ["root", "app", "deep"] {
        applications.push(Application::saying(answer(name).leak()).await);
    }
    let paths = ["/", "/app", "/app/deep"];
    let proxies = applications
        .iter()
        .zip(paths)
        .map(|(application, path)| application.at(path));
    let door = door(proxies.collect()).await;
    for (path, expected) in [
        ("/", "root"),
        ("/index.html", "root"),
        ("/app.js", "root"),
        ("/apple", "root"),
        ("/app", "app"),
        ("/app/", "app"),
        ("/app?x", "app"),
        ("/app/deeper", "app"),
        ("/app/deep", "deep"),
        ("/app/deep/x", "deep"),
        ("/%61pp/deep", "deep"),
        // The calling page and its files.
        ("/r/room", "<!doctype html>call"),
        ("/r/_/app.js", "plain code"),
    ] {
        let reply = door.get(path, &[]).await;
        assert_eq!((reply.status, reply.text()), (200, expected), "{path}");
    }
    assert!(door.get("/ice", &[]).await.json()["iceServers"].is_array());
    assert_eq!(door.get("/ws", &[]).await.status, 426);
    // What may lead out of a path leads nowhere.
    let before: usize = applications.iter().map(Application::count).sum();
    for path in [
        "/app/../x",
        "/app/%2e%2e/x",
        "/app/..%2fx",
        "/app/%00",
        "/%zz",
    ] {
        assert_eq!(door.get(path, &[]).await.status, 404, "{path}");
    }
    let after: usize = applications.iter().map(Application::count).sum();
    assert_eq!(before, after);
}

#[tokio::test]
async fn every_method_is_passed_on_but_those_that_are_for_proxies_themselves() {
    let application = mirror().await;
    let door = door(vec![application.at("/app")]).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let request = format!(
            "{method} /app HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
        );
        let reply = door.ask(&request).await;
        assert_eq!(reply.status, 200, "{method}");
        assert!(reply.text().starts_with(&format!("{method} /app ")));
        assert!(reply.text().ends_with("\r\n\r\nbody"));
    }
    for request in ["TRACE /app", "CONNECT a:443"] {
        let mut visitor = door.tls(&["http/1.1"]).await;
        let request = format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n");
        let status = status(&ask_on(&mut visitor, &request).await.0);
        assert!(matches!(status, 404 | 405), "{request}: {status}");
    }
    assert!(!application.heard().contains("TRACE"));
}

#[tokio::test]
async fn an_answer_to_head_keeps_the_length_that_the_application_named() {
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
            Some("1234"),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        ("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", None),
        ("HTTP/1.1 204 No Content\r\n\r\n", None),
    ] {
        let application = Application::saying(answer).await;
        let door = door(vec![application.at("/app")]).await;
        let mut stream = door.tls(&["http/1.1"]).await;
        // Twice on one connection: nothing of a body came in between.
        for _ in 0..2 {
            let request = "HEAD /app HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                within(stream.read_exact(&mut byte)).await.unwrap();
                head.extend(byte);
            }
            let head = String::from_utf8(head).unwrap();
            assert_eq!(status(&head), status(answer));
            assert_eq!(header(&head, "content-length"), expected, "{head}");
        }
    }
}

#[tokio::test]
async fn an_application_may_listen_on_a_socket_in_the_file_system() {
    let scratch = Scratch::new("unix");
    std::fs::create_dir_all(&scratch.0).unwrap();
    let path = scratch.0.join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut proxied = proxy("/app", "127.0.0.1:1".parse().unwrap());
    proxied.upstream = Upstream::Unix(path.clone());
    let door = door(vec![proxied]).await;
    door.drain.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 1024];
        let _ = stream.read(&mut bytes).await.unwrap();
        stream.write_all(OK.as_bytes()).await.unwrap();
        // The second request finds nobody.
        drop(listener);
    });
    let reply = door.get("/app", &[]).await;
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    assert_eq!(door.get("/app", &[]).await.status, 502);
}

#[tokio::test]
async fn a_name_is_resolved() {
    let application = Application::saying(OK).await;
    let mut proxied = application.at("/app");
    proxied.upstream = Upstream::Http {
        host: "localhost".to_owned(),
        port: application.address.port(),
    };
    let mut nowhere = application.at("/nowhere");
    nowhere.upstream = Upstream::Http {
        host: "no-such-name.invalid".to_owned(),
        port: 80,
    };
    let door = door(vec![proxied, nowhere]).await;
    assert_eq!(door.get("/app", &[]).await.status, 200);
    assert_eq!(door.get("/nowhere", &[]).await.status, 502);
}

/// A visitor who speaks HTTP/2.
pub(crate) async fn http2_visitor<B>(door: &Door) -> http2::SendRequest<B>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TokioIo::new(door.tls(&["h2"]).await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    door.drain.spawn(connection);
    sender
}

#[tokio::test]
async fn a_visitor_with_http2_reaches_an_application_with_http1() {
    let application = mirror().await;
    let door = door(vec![application.at("/app")]).await;
    let url = format!("https://localhost:{}/app?x", door.https.port());
    let mut visitor = http2_visitor::<Full<Bytes>>(&door).await;
    let request = hyper::Request::post(&url)
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(b"from http2")))
        .unwrap();
    let answered = within(visitor.send_request(request)).await.unwrap();
    assert_eq!(answered.status(), 200);
    assert!(!answered.headers().contains_key("connection"));
    assert!(!answered.headers().contains_key("keep-alive"));
    let body = within(answered.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    let seen = std::str::from_utf8(&body).unwrap();
    assert!(seen.starts_with("POST /app?x HTTP/1.1\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\nfrom http2"), "{seen}");
    assert_eq!(
        header(seen, "host"),
        Some(&*format!("localhost:{}", door.https.port()))
    );
    assert_eq!(header(seen, "cookie"), Some("a=1; b=2"));
    assert_eq!(header(seen, "content-length"), Some("10"));
    assert_eq!(header(seen, "te"), Some("trailers"));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let application = Application::start(|_, mut connection| async move {
        while connection.request().await.is_some() {
            connection
                .say(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                     4\r\ndata\r\n0\r\nX-Sum: 42\r\n\r\n",
                )
                .await;
        }
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    let url = format!("https://localhost:{}/app", door.https.port());
    let mut visitor = http2_visitor::<Empty<Bytes>>(&door).await;
    let request = hyper::Request::get(&url)
        .header("te", "trailers")
        .body(Empty::new())
        .unwrap();
    let answered = within(visitor.send_request(request)).await.unwrap();
    let collected = within(answered.into_body().collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "42");
    assert_eq!(collected.to_bytes(), "data");

    let mut stream = door.tls(&["http/1.1"]).await;
    let request = "POST /app HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\
        TE: trailers\r\nConnection: TE, close\r\n\r\n2\r\nup\r\n0\r\nX-Up: 7\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut back = String::new();
    within(stream.read_to_string(&mut back)).await.unwrap();
    assert!(back.ends_with("0\r\nx-sum: 42\r\n\r\n"), "{back}");
    let heard = application.heard();
    assert!(
        heard.ends_with("2\r\nup\r\n0\r\nx-up: 7\r\n\r\n"),
        "{heard}"
    );
}

#[tokio::test]
async fn a_body_is_asked_for_when_the_application_has_been_found() {
    let application = mirror().await;
    let nobody = proxy("/nobody", "127.0.0.1:1".parse().unwrap());
    let door = door(vec![application.at("/app"), nobody]).await;
    let request = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
    };
    let mut stream = door.tls(&["http/1.1"]).await;
    stream.write_all(request("/app").as_bytes()).await.unwrap();
    let mut go = [0; 25];
    within(stream.read_exact(&mut go)).await.unwrap();
    assert_eq!(&go, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let (head, body) = answer(&mut stream).await;
    assert_eq!(status(&head), 200);
    let seen = String::from_utf8(body).unwrap();
    assert!(seen.ends_with("\r\n\r\nbody"));
    assert_eq!(header(&seen, "expect"), None);

    let mut stream = door.tls(&["http/1.1"]).await;
    let (head, _) = ask_on(&mut stream, &request("/nobody")).await;
    assert_eq!(status(&head), 502);
}

#[tokio::test]
async fn http_1_0_visitors_are_served() {
    let application = Application::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
    )
    .await;
    let mut setup = Setup::default();
    setup.settings.proxy = vec![application.at("/app")];
    let door = setup.open().await;
    let reply = door.ask("GET /app HTTP/1.0\r\n\r\n").await;
    assert_eq!((reply.status, reply.text()), (200, "onetwo"));
    assert_eq!(reply.header("transfer-encoding"), None);
}
