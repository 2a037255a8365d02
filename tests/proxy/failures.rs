//! Applications that are down, slow or broken: what the visitor sees and what the operator reads.

use std::io::Write;
use std::sync::{Arc, Mutex};

use callbox::net::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tracing_subscriber::fmt::MakeWriter;

use crate::application::{Application, OK, SHORT, ask_on, door, proxy, status};
use crate::door::{PATIENCE, within};

/// The log of the test's thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn log() -> (Log, tracing::subscriber::DefaultGuard) {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    (log, tracing::subscriber::set_default(subscriber))
}

/// A port that nobody listens on.
async fn nobody() -> std::net::SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    // Bound and not listening: nobody else gets it either.
    Box::leak(Box::new(socket));
    address
}

#[tokio::test]
async fn the_visitor_is_told_nothing_of_the_application_and_the_operator_everything() {
    let (log, _guard) = log();
    let address = nobody().await;
    let door = door(vec![proxy("/app", address)]).await;
    let reply = door.get("/app/x", &[]).await;
    assert_eq!(reply.status, 502);
    assert_eq!(
        reply.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    // The page is ours, and has the headers of our pages.
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let page = format!("{:?} {}", reply.headers, reply.text());
    for secret in [&address.to_string(), "refused", "upstream", "/app"] {
        assert!(!page.contains(secret), "{secret} in {page}");
    }
    let said = log.text();
    assert!(said.contains("WARN"), "{said}");
    assert!(
        said.contains(&format!("upstream=http://{address}")),
        "{said}"
    );
    assert!(said.contains("Connection refused"), "{said}");
}

#[tokio::test]
async fn an_application_that_is_down_is_one_line_and_so_is_its_return() {
    let (log, _guard) = log();
    // Each connection is closed until the application is well again.
    let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let state = well.clone();
    let application = Application::start(move |_, mut connection| {
        let well = state.load(std::sync::atomic::Ordering::SeqCst);
        async move {
            while well && connection.request().await.is_some() {
                connection.say(OK).await;
            }
        }
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    for _ in 0..10 {
        assert_eq!(door.get("/app", &[]).await.status, 502);
    }
    let lines = log.text().matches("WARN").count();
    assert!((1..10).contains(&lines), "{}", log.text());
    well.store(true, std::sync::atomic::Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(door.get("/app", &[]).await.status, 200);
    }
    assert_eq!(log.text().matches("answers again").count(), 1);
}

#[tokio::test]
async fn an_application_that_does_not_answer_in_time_is_504() {
    let (log, _guard) = log();
    let application = Application::start(|_, mut connection| async move {
        connection.request().await;
        connection.closed().await;
    })
    .await;
    let mut proxied = application.at("/app");
    proxied.read_timeout = SHORT;
    let door = door(vec![proxied]).await;
    let start = clock::now();
    assert_eq!(door.get("/app", &[]).await.status, 504);
    assert!(clock::now() - start >= SHORT);
    assert!(clock::now() - start < PATIENCE / 2);
    assert!(
        log.text().contains("read_timeout (200ms) passed"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn the_time_for_an_answer_begins_with_the_end_of_the_request() {
    let application = Application::saying(OK).await;
    let mut proxied = application.at("/app");
    proxied.read_timeout = SHORT;
    let door = door(vec![proxied]).await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    let head = "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
    visitor.write_all(head.as_bytes()).await.unwrap();
    for byte in b"slow" {
        tokio::time::sleep(SHORT / 2).await;
        visitor.write_all(&[*byte]).await.unwrap();
    }
    let (head, _) = crate::application::answer(&mut visitor).await;
    assert_eq!(status(&head), 200);
}

#[tokio::test]
async fn an_answer_that_stops_or_breaks_off_does_not_look_complete() {
    let (log, _guard) = log();
    for stops in [true, false] {
        for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            let application = Application::start(move |_, mut connection| async move {
                connection.request().await;
                let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nbegun\r\n");
                connection.say(&head).await;
                if stops {
                    connection.closed().await;
                }
            })
            .await;
            let mut proxied = application.at("/app");
            if stops {
                proxied.read_timeout = SHORT;
            }
            let door = door(vec![proxied]).await;
            let mut visitor = door.tls(&["http/1.1"]).await;
            visitor
                .write_all(b"GET /app HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            let mut bytes = Vec::new();
            let _ = within(visitor.read_to_end(&mut bytes)).await;
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                text.starts_with("HTTP/1.1 200") && text.contains("begun"),
                "{text}"
            );
            assert!(!text.ends_with("0\r\n\r\n"), "{text}");
        }
    }
    assert!(
        log.text().contains("the answer broke off"),
        "{}",
        log.text()
    );
}

#[tokio::test]
async fn an_application_that_takes_no_connections_is_504() {
    // A listener whose queue is full: the kernel lets further connections wait.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(address)).await {
        queue.push(stream.unwrap());
        assert!(queue.len() < 100, "the queue has no end");
    }
    let mut proxied = proxy("/app", address);
    proxied.connect_timeout = SHORT;
    let door = door(vec![proxied]).await;
    let start = clock::now();
    assert_eq!(door.get("/app", &[]).await.status, 504);
    assert!(clock::now() - start < PATIENCE / 2);
}

#[tokio::test]
async fn an_application_that_reads_no_further_is_504() {
    let (log, _guard) = log();
    let application = Application::start(|_, mut connection| async move {
        connection.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut proxied = application.at("/app");
    proxied.send_timeout = SHORT;
    let door = door(vec![proxied]).await;
    let visitor = door.tls(&["http/1.1"]).await;
    let (mut read, mut write) = tokio::io::split(visitor);
    let sending = door.drain.spawn(async move {
        let head = "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
        let mut sent = write.write_all(head.as_bytes()).await;
        let piece = vec![0; 64 * 1024];
        while sent.is_ok() {
            sent = write.write_all(&piece).await;
        }
    });
    let (head, _) = crate::application::answer(&mut read).await;
    assert_eq!(status(&head), 504);
    assert!(log.text().contains("send_timeout passed"), "{}", log.text());
    sending.abort();
}

#[tokio::test]
async fn what_is_not_http_is_502() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
    ] {
        let application = Application::saying(nonsense).await;
        let door = door(vec![application.at("/app")]).await;
        assert_eq!(door.get("/app", &[]).await.status, 502, "{nonsense:?}");
    }
}

#[tokio::test]
async fn a_header_without_end_is_502_and_not_our_memory() {
    let application = Application::start(|_, mut connection| async move {
        connection.request().await;
        connection.say("HTTP/1.1 200 OK\r\n").await;
        for number in 0.. {
            let line = format!("X-{number}: {}\r\n", "x".repeat(1000));
            if connection.stream.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    assert_eq!(door.get("/app", &[]).await.status, 502);
}

#[tokio::test]
async fn an_application_may_take_longer_than_visitors_may_be_idle() {
    let application = Application::start(|_, mut connection| async move {
        while connection.request().await.is_some() {
            tokio::time::sleep(SHORT * 3).await;
            connection.say(OK).await;
        }
    })
    .await;
    let mut setup = crate::door::Setup::default();
    setup.settings.front.idle_timeout = SHORT;
    setup.settings.proxy = vec![application.at("/app")];
    let door = setup.open().await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    for request in [
        "GET /app HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        assert_eq!(status(&ask_on(&mut visitor, request).await.0), 200);
    }
}
