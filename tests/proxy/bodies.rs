//! Large bodies, slow readers, and those who give up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callbox::net::clock;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::application::{Application, Connection, OK, SHORT, answer, ask_on, door, status};
use crate::door::{PATIENCE, until, within};
use crate::messages::http2_visitor;

const LARGE: usize = 100_000_000;
/// What buffers of sockets, TLS and libraries may hold, far below the whole.
const LITTLE: u64 = 40_000_000;

/// Memory that this process has in use.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// Sends a large answer and counts what has left.
async fn generous(sent: Arc<AtomicU64>) -> Application {
    Application::start(move |_, mut connection| {
        let sent = sent.clone();
        async move {
            while connection.request().await.is_some() {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
                connection.say(&head).await;
                let piece = vec![b'x'; 64 * 1024];
                let mut left = LARGE;
                while left > 0 {
                    let length = left.min(piece.len());
                    if connection.stream.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                    left -= length;
                    sent.fetch_add(length as u64, Ordering::SeqCst);
                }
            }
        }
    })
    .await
}

/// Waits until nothing more is sent, because nobody reads.
async fn at_rest(sent: &AtomicU64) -> u64 {
    let mut last = 0;
    let mut same = 0;
    while same < 5 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = sent.load(Ordering::SeqCst);
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
    }
    last
}

#[tokio::test]
async fn a_large_answer_passes_and_a_slow_reader_holds_up_the_application_not_our_memory() {
    let sent = Arc::new(AtomicU64::new(0));
    let application = generous(sent.clone()).await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    let before = resident();
    visitor
        .write_all(b"GET /app HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let resting = at_rest(&sent).await;
    assert!(
        resting < LITTLE,
        "{resting} bytes were taken for a visitor who reads nothing"
    );
    let mut read = 0;
    let mut most = 0;
    let mut piece = vec![0; 64 * 1024];
    while read < LARGE {
        let length = within(visitor.read(&mut piece)).await.unwrap();
        assert_ne!(length, 0, "after {read}");
        read += length;
        most = most.max(resident());
    }
    assert!(most < before + LITTLE, "{before} bytes became {most}");
}

#[tokio::test]
async fn a_slow_reader_with_http2_holds_up_the_application_too() {
    let sent = Arc::new(AtomicU64::new(0));
    let application = generous(sent.clone()).await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = http2_visitor::<Empty<Bytes>>(&door).await;
    let url = format!("https://localhost:{}/app", door.https.port());
    let request = hyper::Request::get(url).body(Empty::new()).unwrap();
    let mut answered = within(visitor.send_request(request)).await.unwrap();
    let resting = at_rest(&sent).await;
    assert!(resting < LITTLE, "{resting}");
    let before = resident();
    let mut read = 0;
    while let Some(frame) = within(answered.frame()).await {
        read += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(read, LARGE);
    let now = resident();
    assert!(now < before + LITTLE, "{before} bytes became {now}");
}

#[tokio::test]
async fn a_large_request_passes_and_is_never_held_in_memory() {
    let application = Application::start(|_, mut connection| async move {
        connection.head().await.unwrap();
        let mut left = LARGE - connection.unread.len();
        let mut piece = vec![0; 64 * 1024];
        while left > 0 {
            match connection.stream.read(&mut piece).await.unwrap_or(0) {
                0 => return,
                length => left -= length,
            }
        }
        connection.say(OK).await;
        connection.closed().await;
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    let before = resident();
    let head = format!("POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
    visitor.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'x'; 50_000];
    let mut most = 0;
    for _ in 0..LARGE / piece.len() {
        within(visitor.write_all(&piece)).await.unwrap();
        most = most.max(resident());
    }
    // Written is not sent: TLS may hold the last records back.
    within(visitor.flush()).await.unwrap();
    let (head, _) = answer(&mut visitor).await;
    assert_eq!(status(&head), 200);
    assert!(most < before + LITTLE, "{before} bytes became {most}");
}

/// Waits for the next thing that happened to the application.
async fn event(receiver: &mut tokio::sync::mpsc::Receiver<&'static str>) -> &'static str {
    within(receiver.recv()).await.unwrap()
}

/// Begins to answer, or to read, or does neither, and notices when the visitor has gone.
async fn patient(begin: &'static str) -> (Application, tokio::sync::mpsc::Receiver<&'static str>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    let application = Application::start(move |_, mut connection: Connection| {
        let sender = sender.clone();
        async move {
            connection.head().await.unwrap();
            connection.say(begin).await;
            sender.send("asked").await.unwrap();
            connection.closed().await;
            sender.send("closed").await.unwrap();
        }
    })
    .await;
    (application, receiver)
}

const BEGUN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun";

#[tokio::test]
async fn a_visitor_who_leaves_is_gone_for_the_application_as_well() {
    for (begin, request) in [
        ("", "GET /app HTTP/1.1\r\nHost: a\r\n\r\n"),
        (BEGUN, "GET /app HTTP/1.1\r\nHost: a\r\n\r\n"),
        (
            "",
            "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart",
        ),
    ] {
        let (application, mut events) = patient(begin).await;
        let door = door(vec![application.at("/app")]).await;
        let mut visitor = door.tls(&["http/1.1"]).await;
        visitor.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(event(&mut events).await, "asked");
        drop(visitor);
        assert_eq!(event(&mut events).await, "closed", "{begin:?} {request:?}");
    }
}

#[tokio::test]
async fn a_visitor_with_http2_who_leaves_is_gone_for_the_application_as_well() {
    for begin in ["", BEGUN] {
        let (application, mut events) = patient(begin).await;
        let door = door(vec![application.at("/app")]).await;
        let mut visitor = http2_visitor::<Empty<Bytes>>(&door).await;
        let url = format!("https://localhost:{}/app", door.https.port());
        let request = hyper::Request::get(url).body(Empty::new()).unwrap();
        // The connection stays: only this stream is reset.
        if begin.is_empty() {
            let asked = visitor.send_request(request);
            tokio::select! {
                _ = asked => panic!("there is no answer"),
                happened = event(&mut events) => assert_eq!(happened, "asked"),
            }
        } else {
            let answered = within(visitor.send_request(request)).await.unwrap();
            assert_eq!(event(&mut events).await, "asked");
            drop(answered);
        }
        assert_eq!(event(&mut events).await, "closed", "{begin:?}");
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_the_request_has_ended_is_not_lost() {
    let application = Application::start(|_, mut connection| async move {
        connection.head().await.unwrap();
        connection
            .say("HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
            .await;
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    let request = "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegun";
    let (head, body) = ask_on(&mut visitor, request).await;
    assert_eq!((status(&head), &*body), (413, &b"too much"[..]));
    // And the rest of that request is nobody's next one.
    let reply = door.get("/app", &[]).await;
    assert_eq!(reply.status, 413);
    assert_eq!(application.count(), 2);
}

#[tokio::test]
async fn a_visitor_who_stops_in_the_middle_of_a_body_is_not_waited_for() {
    let (application, mut events) = patient("").await;
    let mut setup = crate::door::Setup::default();
    setup.settings.front.idle_timeout = SHORT;
    setup.settings.proxy = vec![application.at("/app")];
    let door = setup.open().await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    let start = clock::now();
    let request = "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\npart";
    visitor.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(event(&mut events).await, "asked");
    assert_eq!(event(&mut events).await, "closed");
    // 408, or no answer to half a request; but an end.
    let _ = within(visitor.read_to_end(&mut Vec::new())).await;
    assert!(clock::now() - start < PATIENCE / 2);
}

#[tokio::test]
async fn a_visitor_who_drips_a_body_is_not_waited_for_either() {
    let (application, mut events) = patient("").await;
    let mut setup = crate::door::Setup::default();
    setup.settings.front.idle_timeout = SHORT * 2;
    setup.settings.proxy = vec![application.at("/app")];
    let door = setup.open().await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    let request = "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    visitor.write_all(request.as_bytes()).await.unwrap();
    let drip = door.drain.spawn(async move {
        while visitor.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 4).await;
        }
    });
    assert_eq!(event(&mut events).await, "asked");
    assert_eq!(event(&mut events).await, "closed");
    drip.abort();
}

#[tokio::test]
async fn a_visitor_is_not_blamed_for_an_application_that_reads_late() {
    const BODY: usize = 20_000_000;
    let application = Application::start(|_, mut connection| async move {
        connection.head().await.unwrap();
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let whole = |bytes: &[u8]| (bytes.len() >= BODY).then_some(BODY);
        connection.until(whole).await.unwrap();
        connection.say(OK).await;
        connection.closed().await;
    })
    .await;
    let mut setup = crate::door::Setup::default();
    setup.settings.front.idle_timeout = Duration::from_secs(1);
    setup.settings.proxy = vec![application.at("/app")];
    let door = setup.open().await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    let head = format!("POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY}\r\n\r\n");
    visitor.write_all(head.as_bytes()).await.unwrap();
    within(visitor.write_all(&vec![b'x'; BODY])).await.unwrap();
    assert_eq!(status(&answer(&mut visitor).await.0), 200);
}

#[tokio::test]
async fn events_come_when_they_happen() {
    let (next, pieces) = tokio::sync::mpsc::channel::<&'static str>(1);
    let pieces = Arc::new(tokio::sync::Mutex::new(pieces));
    let application = Application::start(move |_, mut connection| {
        let pieces = pieces.clone();
        async move {
            connection.request().await.unwrap();
            connection
                .say(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                     Transfer-Encoding: chunked\r\n\r\n",
                )
                .await;
            while let Some(piece) = pieces.lock().await.recv().await {
                connection
                    .say(&format!("{:x}\r\n{piece}\r\n", piece.len()))
                    .await;
            }
        }
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    visitor
        .write_all(b"GET /app HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut seen = String::new();
    for piece in ["data: one\n\n", "data: two\n\n"] {
        // The second is not written before the first has arrived.
        next.send(piece).await.unwrap();
        while !seen.contains(piece) {
            let mut bytes = [0; 1024];
            let length = within(visitor.read(&mut bytes)).await.unwrap();
            assert_ne!(length, 0);
            seen.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
        }
    }
    until("counted", || {
        door.services.stats().proxied.load(Ordering::Relaxed) == 1
    })
    .await;
}
