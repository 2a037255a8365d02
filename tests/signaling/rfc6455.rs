//! The frames of RFC 6455, byte for byte over a raw socket: what must pass, and what must end the
//! connection with which code.

use callbox::config::settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{PATIENCE, Server, settings};

const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const CONTINUATION: u8 = 0x0;
const FIN: u8 = 0x80;

/// Answered in a room and out of it.
const BEAT: &[u8] = br#"{"type":"ping"}"#;

struct Raw {
    socket: TcpStream,
}

impl Raw {
    async fn connect(server: &Server) -> Self {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        // The key and its answer are the example of section 1.3.
        let request = "GET /ws HTTP/1.1\r\nHost: callbox.test\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\n\r\n";
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, socket.read_u8()).await.unwrap().unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        Self { socket }
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next frame: its first byte and its payload.
    async fn read(&mut self) -> (u8, Vec<u8>) {
        let frame = async {
            let first = self.socket.read_u8().await?;
            let length = self.socket.read_u8().await?;
            assert_eq!(length & 0x80, 0, "a server does not mask");
            let length = match length {
                126 => usize::from(self.socket.read_u16().await?),
                127 => usize::try_from(self.socket.read_u64().await?).unwrap(),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.socket.read_exact(&mut payload).await?;
            std::io::Result::Ok((first, payload))
        };
        timeout(PATIENCE, frame)
            .await
            .expect("a frame in time")
            .unwrap()
    }

    async fn is_alive(&mut self) {
        self.write(&frame(FIN | TEXT, BEAT)).await;
        assert_eq!(self.read().await, (FIN | TEXT, b"\"pong\"".to_vec()));
    }

    /// The next frame is a close with this code, and nothing follows.
    async fn is_closed(&mut self, code: u16) {
        let (first, payload) = self.read().await;
        assert_eq!(first, FIN | CLOSE);
        let (said, reason) = payload.split_first_chunk().unwrap();
        assert_eq!(u16::from_be_bytes(*said), code);
        assert!(std::str::from_utf8(reason).is_ok() && payload.len() <= 125);
        self.ends().await;
    }

    /// The server closes the TCP connection.
    async fn ends(&mut self) {
        let mut rest = Vec::new();
        let end = timeout(PATIENCE, self.socket.read_to_end(&mut rest)).await;
        end.expect("ended in time").unwrap();
        assert_eq!(rest, b"");
    }
}

/// A frame of a client, with a mask that is not zero and the shortest length.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

#[tokio::test]
async fn messages_come_in_any_number_of_pieces() {
    let server = Server::start(settings()).await;
    let mut raw = Raw::connect(&server).await;
    raw.is_alive().await;
    for cut in 0..=BEAT.len() {
        let (head, tail) = BEAT.split_at(cut);
        raw.write(&frame(TEXT, head)).await;
        raw.write(&frame(CONTINUATION, b"")).await;
        // Section 5.4: control frames come in between.
        raw.write(&frame(FIN | PING, b"now")).await;
        assert_eq!(raw.read().await, (FIN | PONG, b"now".to_vec()));
        raw.write(&frame(FIN | CONTINUATION, tail)).await;
        assert_eq!(raw.read().await, (FIN | TEXT, b"\"pong\"".to_vec()));
    }
}

#[tokio::test]
async fn bytes_come_one_by_one() {
    let server = Server::start(settings()).await;
    let mut raw = Raw::connect(&server).await;
    for byte in frame(FIN | TEXT, BEAT) {
        raw.write(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.read().await.1, b"\"pong\"");
}

#[tokio::test]
async fn many_frames_come_in_one_segment() {
    let server = Server::start(settings()).await;
    let mut raw = Raw::connect(&server).await;
    raw.write(&frame(FIN | TEXT, BEAT).repeat(50)).await;
    for _ in 0..50 {
        assert_eq!(raw.read().await.1, b"\"pong\"");
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_its_own_payload_up_to_125_bytes() {
    let server = Server::start(settings()).await;
    let mut raw = Raw::connect(&server).await;
    for length in [0, 1, 124, 125] {
        let payload = vec![0xFE; length];
        raw.write(&frame(FIN | PING, &payload)).await;
        assert_eq!(raw.read().await, (FIN | PONG, payload));
    }
    // A pong that nobody asked for is no fault.
    raw.write(&frame(FIN | PONG, b"\0\0\0\0\0\0\0\x09")).await;
    raw.is_alive().await;
}

#[tokio::test]
async fn text_is_utf8_over_the_borders_of_its_pieces() {
    let server = Server::start(settings()).await;
    let mut raw = Raw::connect(&server).await;
    let text = "{\"type\":\"ping\",\"x\":\"\u{10FFFF} 房间\"}".as_bytes();
    for cut in 0..text.len() {
        let (head, tail) = text.split_at(cut);
        raw.write(&frame(TEXT, head)).await;
        raw.write(&frame(FIN | CONTINUATION, tail)).await;
        assert_eq!(raw.read().await.1, b"\"pong\"", "cut at {cut}");
    }
}

/// What is sent, in one go, and the code that it ends the connection with.
fn violations() -> Vec<(&'static str, Vec<u8>, u16)> {
    let unmasked = [&[FIN | TEXT, BEAT.len() as u8], BEAT].concat();
    let long_control = frame(FIN | PING, &[0; 126]);
    let mut cases = vec![
        ("no mask", unmasked, 1002),
        ("a control frame in pieces", frame(PING, b""), 1002),
        ("a control frame over 125 bytes", long_control, 1002),
        (
            "a continuation of nothing",
            frame(FIN | CONTINUATION, b""),
            1002,
        ),
        (
            "a new message within another",
            [frame(TEXT, b"{"), frame(FIN | TEXT, b"}")].concat(),
            1002,
        ),
        ("a binary message", frame(FIN | BINARY, b"{}"), 1003),
        ("a close of one byte", frame(FIN | CLOSE, &[3]), 1002),
    ];
    for bit in [0x40, 0x20, 0x10] {
        cases.push(("a reserved bit", frame(FIN | bit | TEXT, BEAT), 1002));
    }
    for opcode in [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF] {
        cases.push(("a reserved opcode", frame(FIN | opcode, b""), 1002));
    }
    for bytes in [
        &b"\xC0\xAF"[..],
        b"\xED\xA0\x80",
        b"\xF4\x90\x80\x80",
        b"\xCE",
        b"\xFF",
        b"\x80",
        b"{\"a\":\"\xE6\x88\"}",
    ] {
        cases.push(("text that is not UTF-8", frame(FIN | TEXT, bytes), 1007));
    }
    cases
}

#[tokio::test]
async fn each_violation_ends_the_connection_with_its_code() {
    let server = Server::start(settings()).await;
    for (what, bytes, code) in violations() {
        let mut raw = Raw::connect(&server).await;
        raw.write(&bytes).await;
        println!("{what}");
        raw.is_closed(code).await;
    }
    // Nobody else has felt any of it.
    Raw::connect(&server).await.is_alive().await;
}

#[tokio::test]
async fn a_message_is_measured_before_it_is_there() {
    let server = Server::start(settings::Signaling {
        max_message: 4096,
        ..settings()
    })
    .await;
    let beat = |fill: usize| format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(fill));
    let largest = beat(4096 - beat(0).len());
    assert_eq!(largest.len(), 4096);
    let mut raw = Raw::connect(&server).await;
    raw.write(&frame(FIN | TEXT, largest.as_bytes())).await;
    assert_eq!(raw.read().await.1, b"\"pong\"");
    // One byte more, and a claim of as much as there can be: neither is waited for.
    for length in [4097_u64, u64::MAX >> 1] {
        let mut raw = Raw::connect(&server).await;
        let mut bytes = vec![FIN | TEXT, 0x80 | 127];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0; 4]);
        raw.write(&bytes).await;
        let (first, payload) = raw.read().await;
        assert_eq!(
            (first, &payload[..2]),
            (FIN | CLOSE, &1009_u16.to_be_bytes()[..])
        );
    }
}

#[tokio::test]
async fn a_close_is_answered_with_its_code_and_the_connection_ends() {
    let server = Server::start(settings()).await;
    for code in [1000_u16, 1001, 1003, 1011, 3000, 4999] {
        let mut raw = Raw::connect(&server).await;
        let payload = [&code.to_be_bytes()[..], b"bye"].concat();
        raw.write(&frame(FIN | CLOSE, &payload)).await;
        let (first, answer) = raw.read().await;
        assert_eq!(
            (first, &answer[..2]),
            (FIN | CLOSE, &code.to_be_bytes()[..])
        );
        raw.ends().await;
    }
    let mut raw = Raw::connect(&server).await;
    raw.write(&frame(FIN | CLOSE, b"")).await;
    assert_eq!(raw.read().await.0, FIN | CLOSE);
    raw.ends().await;
}

#[tokio::test]
async fn codes_that_must_not_be_sent_are_violations() {
    let server = Server::start(settings()).await;
    // Section 7.4: reserved, for use inside a machine only, or outside the ranges.
    for code in [
        0_u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535,
    ] {
        let mut raw = Raw::connect(&server).await;
        raw.write(&frame(FIN | CLOSE, &code.to_be_bytes())).await;
        let (first, answer) = raw.read().await;
        assert_eq!(
            (first, &answer[..2]),
            (FIN | CLOSE, &1002_u16.to_be_bytes()[..]),
            "{code}"
        );
        raw.ends().await;
    }
}

#[tokio::test]
async fn what_follows_a_close_is_not_heard() {
    let server = Server::start(settings()).await;
    let mut raw = Raw::connect(&server).await;
    let both = [
        frame(FIN | CLOSE, &1000_u16.to_be_bytes()),
        frame(FIN | TEXT, BEAT),
    ]
    .concat();
    raw.write(&both).await;
    assert_eq!(raw.read().await.0, FIN | CLOSE);
    let mut rest = Vec::new();
    // An end, or a reset for what was left unread.
    let _ = timeout(PATIENCE, raw.socket.read_to_end(&mut rest))
        .await
        .unwrap();
    assert_eq!(rest, b"");
}
