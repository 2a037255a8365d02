//! Bodies that come with requests to which the answer is clear without them.

use bytes::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::door::{Door, within};

#[tokio::test]
async fn many_bodies_that_nobody_wants_do_not_end_a_connection_of_http2() {
    let door = Door::open().await;
    let stream = TokioIo::new(door.tls(&["h2"]).await);
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream)
        .await
        .unwrap();
    door.drain.spawn(async move { drop(connection.await) });
    let url = format!("https://localhost:{}", door.https.port());
    let mut answers = std::collections::BTreeSet::new();
    // Each of them would be reset, if its body were left where it is.
    for round in 0..70 {
        let (path, origin) = [
            ("/nothing", "https://localhost"),
            ("/app.js", "https://localhost"),
            ("/ws", "https://localhost"),
            ("/ice", "https://evil.example"),
            ("/ice", &*url),
        ][round % 5];
        let request = hyper::Request::post(format!("{url}{path}"))
            .header("origin", origin)
            .body(Late::new(12 * 1024))
            .unwrap();
        within(client.ready()).await.unwrap();
        let answered = within(client.send_request(request)).await;
        let answered = answered.unwrap_or_else(|error| panic!("{round}: {error}"));
        answers.insert(answered.status().as_u16());
    }
    assert_eq!(Vec::from_iter(answers), [200, 403, 405]);
}

#[tokio::test]
async fn what_apprtc_refuses_is_read_so_that_its_client_hears_why_and_may_ask_again() {
    let door = Door::open().await;
    for (request, length, expected) in [
        ("POST /join/r", 12, "403 Forbidden"),
        ("POST /message/r/c", 60, "403 Forbidden"),
        ("POST /collider/r/c", 80, "413 Payload Too Large"),
        ("POST /collider/somewhere", 12, "500 Internal Server Error"),
        ("PUT /collider/r/c", 12, "200 OK"),
        ("DELETE /collider/r/c", 12, "200 OK"),
    ] {
        let mut stream = door.tls(&["http/1.1"]).await;
        let body = vec![b'x'; length * 1024];
        for _ in 0..3 {
            let head = format!(
                "{request} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
            let mut answer = Vec::new();
            while !is_whole(&answer) {
                let read = within(stream.read_buf(&mut answer)).await.unwrap();
                assert_ne!(read, 0, "{request}");
            }
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {expected}\r\n")),
                "{request}: {answer}"
            );
        }
    }
}

/// Whether an answer has as many bytes as it says.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
        let length = head.to_ascii_lowercase();
        let length = length
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        length.is_some_and(|length| length == body.len().to_string())
    })
}

/// A body whose bytes come a moment after its header.
struct Late {
    waited: bool,
    length: usize,
}

impl Late {
    fn new(length: usize) -> Self {
        Self {
            waited: false,
            length,
        }
    }
}

impl hyper::body::Body for Late {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        use std::task::Poll;

        if !self.waited {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = self.length.min(1024);
        self.length -= piece;
        match piece {
            0 => Poll::Ready(None),
            _ => Poll::Ready(Some(Ok(hyper::body::Frame::data(vec![b'x'; piece].into())))),
        }
    }
}
