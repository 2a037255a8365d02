//! Applications that do what a test says with each connection, and a door in front of them.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callbox::config::settings::{Proxy, Upstream};
use callbox::shutdown::Drain;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::door::{Door, PATIENCE, Setup, within};

/// An application on a port of its own.
pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    /// Connections so far.
    pub(crate) connections: Arc<AtomicUsize>,
    /// Everything that it has read, if its connections say so.
    pub(crate) read: Arc<Mutex<Vec<u8>>>,
    drain: Drain,
}

impl Application {
    /// Runs `serve` for each connection; the number counts them from zero.
    pub(crate) async fn start<F, W>(serve: F) -> Self
    where
        F: Fn(usize, Connection) -> W + Send + Sync + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let read = Arc::new(Mutex::new(Vec::new()));
        let drain = Drain::new();
        let (counter, record, tasks) = (connections.clone(), read.clone(), drain.clone());
        drain.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let connection = Connection {
                    stream,
                    unread: Vec::new(),
                    record: record.clone(),
                };
                tasks.spawn(serve(number, connection));
            }
        });
        Self {
            address,
            connections,
            read,
            drain,
        }
    }

    /// Answers each request with the same bytes.
    pub(crate) async fn saying(answer: &'static str) -> Self {
        Self::start(move |_, mut connection| async move {
            while connection.request().await.is_some() {
                connection.say(answer).await;
            }
        })
        .await
    }

    /// A proxy for it.
    pub(crate) fn at(&self, path: &str) -> Proxy {
        proxy(path, self.address)
    }

    pub(crate) fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What it has read so far.
    pub(crate) fn heard(&self) -> String {
        String::from_utf8_lossy(&self.read.lock().unwrap()).into_owned()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.drain.begin();
    }
}

/// A connection of the door to the application.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    /// What came with something else that was read.
    pub(crate) unread: Vec<u8>,
    record: Arc<Mutex<Vec<u8>>>,
}

impl Connection {
    /// The next request: its head, and its body as it came.
    pub(crate) async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head().await?;
        let lower = head.to_ascii_lowercase();
        let value = |name: &str| {
            let line = lower.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let body = if value("transfer-encoding:").is_some() {
            self.until(|bytes| {
                let text = String::from_utf8_lossy(bytes);
                let last = text
                    .find("0\r\n")
                    .filter(|at| *at == 0 || text[..*at].ends_with("\r\n"));
                last.and_then(|at| Some(at + text[at..].find("\r\n\r\n")? + 4))
            })
            .await?
        } else {
            let length = value("content-length:").map_or(0, |text| text.parse().unwrap());
            self.until(|bytes| (bytes.len() >= length).then_some(length))
                .await?
        };
        Some((head, body))
    }

    /// The head of the next request, its body left alone.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let head = self
            .until(|bytes| Some(bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4))
            .await?;
        Some(String::from_utf8(head).unwrap())
    }

    /// Reads until `complete` says how many bytes belong together; `None` at the end.
    pub(crate) async fn until(
        &mut self,
        complete: impl Fn(&[u8]) -> Option<usize>,
    ) -> Option<Vec<u8>> {
        loop {
            if let Some(length) = complete(&self.unread) {
                return Some(self.unread.drain(..length).collect());
            }
            let mut piece = [0; 16 * 1024];
            let length = self.stream.read(&mut piece).await.ok()?;
            if length == 0 {
                return None;
            }
            self.unread.extend_from_slice(&piece[..length]);
            self.record
                .lock()
                .unwrap()
                .extend_from_slice(&piece[..length]);
        }
    }

    pub(crate) async fn say(&mut self, answer: &str) {
        let _ = self.stream.write_all(answer.as_bytes()).await;
    }

    /// Waits until the door has closed the connection, or broken it.
    pub(crate) async fn closed(&mut self) {
        while self
            .until(|bytes| (!bytes.is_empty()).then_some(bytes.len()))
            .await
            .is_some()
        {}
    }
}

/// A proxy as `[[proxy]]` makes it, with the patience of a test.
pub(crate) fn proxy(path: &str, address: SocketAddr) -> Proxy {
    Proxy {
        path: path.to_owned(),
        upstream: Upstream::Http {
            host: address.ip().to_string(),
            port: address.port(),
        },
        connect_timeout: PATIENCE,
        read_timeout: PATIENCE,
        send_timeout: PATIENCE,
        upgrade_timeout: None,
        max_connections: NonZeroUsize::new(64).unwrap(),
    }
}

/// A door with these proxies.
pub(crate) async fn door(proxies: Vec<Proxy>) -> Door {
    let mut setup = Setup::default();
    setup.settings.proxy = proxies;
    setup.open().await
}

/// Short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(200);

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Reads one answer: its head and its body, taken out of its chunks.
pub(crate) async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            break String::from_utf8(std::mem::replace(&mut bytes, rest)).unwrap();
        }
        more(stream, &mut bytes).await;
    };
    let lower = head.to_ascii_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        while !bytes.ends_with(b"0\r\n\r\n") {
            more(stream, &mut bytes).await;
        }
        return (head, dechunked(&bytes));
    }
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < length {
        more(stream, &mut bytes).await;
    }
    (head, bytes)
}

async fn more<S: AsyncRead + Unpin>(stream: &mut S, bytes: &mut Vec<u8>) {
    let mut piece = [0; 16 * 1024];
    let length = within(stream.read(&mut piece)).await.unwrap();
    assert_ne!(
        length,
        0,
        "closed after {:?}",
        String::from_utf8_lossy(bytes)
    );
    bytes.extend_from_slice(&piece[..length]);
}

/// The data of a complete chunked body.
pub(crate) fn dechunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let line = bytes.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = std::str::from_utf8(&bytes[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return data;
        }
        data.extend_from_slice(&bytes[line + 2..line + 2 + size]);
        bytes = &bytes[line + 4 + size..];
    }
}

/// Sends a request and reads its answer, leaving the connection open.
pub(crate) async fn ask_on<S>(stream: &mut S, request: &str) -> (String, Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request.as_bytes()).await.unwrap();
    answer(stream).await
}

/// The status of an answer's head.
pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The one value of a header in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut values = head.lines().filter_map(|line| {
        let (one, value) = line.split_once(':')?;
        one.eq_ignore_ascii_case(name).then_some(value.trim())
    });
    let value = values.next();
    assert_eq!(values.next(), None, "{name} comes twice in {head}");
    value
}
