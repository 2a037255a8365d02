//! Clients that keep every rule of HTTP/2 and mean no good, and those that are merely slow.

use std::time::Duration;

use callbox::assets::Assets;
use callbox::net::clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::client::TlsStream;

use crate::door::{Door, PATIENCE, Scratch, Setup, count, tls_over, until, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `ENHANCE_YOUR_CALM`
const CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// GET of `/`, in indexes of the static table and literals.
fn get(stream: u32) -> Vec<u8> {
    let block = b"\x82\x87\x84\x41\x09localhost";
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

/// POST to `/ice`, whose body is yet to come.
fn post(stream: u32) -> Vec<u8> {
    let block = b"\x83\x87\x04\x04/ice\x41\x09localhost";
    frame(HEADERS, END_HEADERS, stream, block)
}

/// GET of a path.
fn get_path(stream: u32, path: &str) -> Vec<u8> {
    let mut block = b"\x82\x87\x04".to_vec();
    block.push(path.len() as u8);
    block.extend(path.as_bytes());
    block.extend(b"\x41\x09localhost");
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block)
}

/// A connection whose settings are these.
async fn connect(door: &Door, settings: &[u8]) -> TlsStream<TcpStream> {
    let mut stream = door.tls(&["h2"]).await;
    let start = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
    stream.write_all(&start).await.unwrap();
    stream
}

/// Sends for as long as somebody listens, and reads beside it. Returns the error of the GOAWAY, if
/// one came.
async fn flood(stream: TlsStream<TcpStream>, mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let (mut read, mut write) = tokio::io::split(stream);
    let reading = async {
        let mut error = None;
        loop {
            let mut header = [0; 9];
            if read.read_exact(&mut header).await.is_err() {
                return error;
            }
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let mut payload = vec![0; length];
            if read.read_exact(&mut payload).await.is_err() {
                return error;
            }
            if header[3] == GOAWAY {
                error = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
    };
    let writing = async {
        for number in 0.. {
            if write.write_all(&next(number)).await.is_err() {
                break;
            }
        }
    };
    within(async { tokio::join!(reading, writing).0 }).await
}

/// The page, to somebody who behaves.
async fn still_serves(door: &Door) {
    assert_eq!(door.get("/", &[]).await.status, 200);
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let door = Door::open().await;
    let stream = connect(&door, &[]).await;
    flood(stream, |number| {
        let stream = number * 2 + 1;
        [
            get(stream),
            frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
        ]
        .concat()
    })
    .await;
    still_serves(&door).await;
}

#[tokio::test]
async fn making_the_server_take_requests_back_ends_the_connection() {
    let door = Door::open().await;
    let stream = connect(&door, &[]).await;
    let error = flood(stream, |number| {
        let stream = number * 2 + 1;
        // A window larger than there can be is an error of the stream, which the server has to end;
        // the client itself takes nothing back.
        [
            post(stream),
            frame(WINDOW_UPDATE, 0, stream, &[0x7F, 0xFF, 0xFF, 0xFF]),
        ]
        .concat()
    })
    .await;
    assert_eq!(error, Some(CALM));
    still_serves(&door).await;
}

#[tokio::test]
async fn a_header_without_end_ends_the_connection() {
    let door = Door::open().await;
    let stream = connect(&door, &[]).await;
    let error = flood(stream, |number| match number {
        0 => frame(HEADERS, END_STREAM, 1, b"\x82\x87\x84\x41\x09localhost"),
        // A literal without indexing, a byte long in name and value; and an empty piece.
        n if n % 2 == 0 => frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b"),
        _ => frame(CONTINUATION, 0, 1, b""),
    })
    .await;
    assert!(error.is_some_and(|error| error != 0), "{error:?}");
    still_serves(&door).await;
}

#[tokio::test]
async fn pings_settings_windows_and_empty_bodies_without_end_end_the_connection() {
    let door = Door::open().await;
    let floods: [fn(u32) -> Vec<u8>; 6] = [
        |_| frame(PING, 0, 0, &[7; 8]),
        |_| frame(SETTINGS, 0, 0, &[]),
        |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        |_| frame(2, 0, 3, &[0, 0, 0, 0, 16]),
        |_| frame(0xB, 0, 0, b"unknown to everybody"),
        |number| match number {
            0 => post(1),
            _ => frame(DATA, 0, 1, &[]),
        },
    ];
    for next in floods {
        let stream = connect(&door, &[]).await;
        flood(stream, next).await;
    }
    assert!(count(&door.services.stats().flooding) >= 5);
    still_serves(&door).await;
}

#[tokio::test]
async fn a_client_may_have_so_many_requests_at_a_time_and_so_large_headers() {
    let door = Door::open().await;
    let mut stream = connect(&door, &[]).await;
    let mut announced = None;
    while announced.is_none() {
        let mut header = [0; 9];
        within(stream.read_exact(&mut header)).await.unwrap();
        let mut payload = vec![0; usize::from(header[2])];
        within(stream.read_exact(&mut payload)).await.unwrap();
        if header[3] == SETTINGS && header[4] == 0 {
            announced = Some(payload);
        }
    }
    let announced = announced.unwrap();
    let value = |id: u16| {
        announced
            .chunks(6)
            .find(|setting| setting[..2] == id.to_be_bytes())
            .map(|setting| u32::from_be_bytes(setting[2..6].try_into().unwrap()))
    };
    assert_eq!(value(3), Some(64), "concurrent streams");
    assert_eq!(value(6), Some(32 * 1024), "bytes of a header");
    assert!(value(4).unwrap() <= 128 * 1024, "window of a stream");
    // WebSockets come over HTTP/1.1.
    assert_eq!(value(8).unwrap_or(0), 0, "extended CONNECT");
}

/// A directory with a file that no socket takes at once.
fn with_a_large_file() -> (Setup, Scratch) {
    let scratch = Scratch::new("large");
    std::fs::create_dir_all(&scratch.0).unwrap();
    std::fs::write(scratch.0.join("large"), vec![b'x'; 64 << 20]).unwrap();
    let mut setup = Setup {
        assets: Assets::directory(&scratch.0).unwrap(),
        ..Setup::default()
    };
    setup.settings.front.idle_timeout = Duration::from_millis(500);
    (setup, scratch)
}

#[tokio::test]
async fn a_client_that_keeps_its_window_closed_is_cut_however_often_it_pings() {
    let (setup, _scratch) = with_a_large_file();
    let door = setup.open().await;
    // SETTINGS_INITIAL_WINDOW_SIZE is 0.
    let mut stream = connect(&door, &[0, 4, 0, 0, 0, 0]).await;
    stream.write_all(&get_path(1, "/large")).await.unwrap();
    let start = clock::now();
    let (mut read, mut write) = tokio::io::split(stream);
    let pinging = async {
        while write.write_all(&frame(PING, 0, 0, &[1; 8])).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let mut seen = Vec::new();
    let reading = async { read.read_to_end(&mut seen).await };
    within(async {
        tokio::select! { _ = reading => {}, () = pinging => {} }
    })
    .await;
    assert!(clock::now() - start < PATIENCE / 2);
    until("counted", || count(&door.services.stats().stalled) == 1).await;
}

#[tokio::test]
async fn a_client_that_reads_slower_than_anybody_needs_to_is_cut() {
    let (setup, _scratch) = with_a_large_file();
    let door = setup.open().await;
    for request in [
        b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        [
            PREFACE,
            &frame(SETTINGS, 0, 0, &[0, 4, 0x7F, 0xFF, 0xFF, 0xFF]),
            &frame(WINDOW_UPDATE, 0, 0, &[0x70, 0, 0, 0]),
            &get_path(1, "/large"),
        ]
        .concat(),
    ] {
        let alpn = match request.starts_with(b"GET") {
            true => "http/1.1",
            false => "h2",
        };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let tcp = socket.connect(door.https).await.unwrap();
        let mut stream = tls_over(tcp, door.trusting(&[alpn])).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let cut = count(&door.services.stats().stalled);
        // A few bytes a tick, until there is an end instead.
        let mut few = [0; 16];
        let mut seen = 0;
        loop {
            match within(stream.read(&mut few)).await {
                Ok(0) | Err(_) => break,
                Ok(length) => seen += length,
            }
            // What was under way when it was cut can be read as fast as it goes.
            if count(&door.services.stats().stalled) == cut {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(seen < 64 << 20, "it got all");
        }
        assert_eq!(count(&door.services.stats().stalled), cut + 1, "{alpn}");
    }
}

#[tokio::test]
async fn a_client_that_reads_steadily_gets_the_whole_file() {
    let (setup, _scratch) = with_a_large_file();
    let door = setup.open().await;
    let mut stream = door.tls(&["http/1.1"]).await;
    let request = b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut piece = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match within(stream.read(&mut piece)).await.unwrap() {
            0 => break,
            length => total += length,
        }
    }
    assert!(total > 64 << 20, "{total}");
}
