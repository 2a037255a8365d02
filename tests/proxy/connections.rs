//! Connections to an application: kept, counted, and replaced when they have gone.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::application::{Application, OK, SHORT, answer, ask_on, door, header, status};
use crate::door::{Door, PATIENCE, within};

const GET: &str = "GET /app HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn one_connection_serves_many_requests_of_many_visitors() {
    let application = Application::saying(OK).await;
    let door = door(vec![application.at("/app")]).await;
    for _ in 0..5 {
        assert_eq!(door.get("/app", &[]).await.status, 200);
    }
    assert_eq!(application.count(), 1);
}

#[tokio::test]
async fn a_connection_that_the_application_gave_up_is_replaced_for_whoever_may_ask_twice() {
    // Each connection answers one request, reads the next one, and closes without an answer.
    let application = Application::start(|_, mut connection| async move {
        connection.request().await;
        connection.say(OK).await;
        connection.request().await;
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    let ask = async |request: &str| {
        let mut visitor = door.tls(&["http/1.1"]).await;
        status(&ask_on(&mut visitor, request).await.0)
    };
    assert_eq!(ask(GET).await, 200);
    assert_eq!(ask(GET).await, 200);
    assert_eq!(application.count(), 2);
    let put = "PUT /app HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(put).await, 200);
    assert_eq!(application.count(), 3);
    // A body is gone once it has been sent, and a POST may have been heard.
    let post = "POST /app HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(post).await, 502);
    assert_eq!(application.count(), 3);
    assert_eq!(ask(post).await, 200);
    let with_body = "PUT /app HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    assert_eq!(ask(with_body).await, 502);
    assert_eq!(application.count(), 4);
}

#[tokio::test]
async fn a_new_connection_that_closes_is_not_tried_again() {
    let application = Application::start(|_, mut connection| async move {
        connection.request().await;
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    assert_eq!(door.get("/app", &[]).await.status, 502);
    assert_eq!(application.count(), 1);
}

#[tokio::test]
async fn what_an_application_says_unasked_is_nobodys_answer() {
    let application = Application::start(|_, mut connection| async move {
        connection.request().await;
        connection
            .say(&format!(
                "{OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
            ))
            .await;
        while connection.request().await.is_some() {
            connection.say(OK).await;
        }
    })
    .await;
    let door = door(vec![application.at("/app")]).await;
    for _ in 0..3 {
        let reply = door.get("/app", &[]).await;
        assert_eq!((reply.status, reply.text()), (200, "ok"));
    }
}

/// Answers when told to.
async fn slow(release: Arc<Semaphore>) -> Application {
    Application::start(move |_, mut connection| {
        let release = release.clone();
        async move {
            while connection.request().await.is_some() {
                release.acquire().await.unwrap().forget();
                connection.say(OK).await;
            }
        }
    })
    .await
}

/// A visitor from another address of this machine.
async fn visitor(door: &Door, from: &str) -> TlsStream<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(from).unwrap();
    let tcp = socket.connect(door.https).await.unwrap();
    let connector = TlsConnector::from(Arc::new(door.trusting(&["http/1.1"])));
    let name = "localhost".try_into().unwrap();
    within(connector.connect(name, tcp)).await.unwrap()
}

#[tokio::test]
async fn a_full_application_lets_a_few_wait_and_sends_the_others_away() {
    let release = Arc::new(Semaphore::new(0));
    let application = slow(release.clone()).await;
    let mut proxied = application.at("/app");
    proxied.max_connections = NonZeroUsize::new(1).unwrap();
    let door = door(vec![proxied]).await;
    let mut first = visitor(&door, "127.0.0.1").await;
    first.write_all(GET.as_bytes()).await.unwrap();
    crate::door::until("asked", || application.heard().contains("GET")).await;
    // Of the next two, one waits and one is told to come back.
    let mut second = visitor(&door, "127.0.0.2").await;
    let mut third = visitor(&door, "127.0.0.3").await;
    second.write_all(GET.as_bytes()).await.unwrap();
    third.write_all(GET.as_bytes()).await.unwrap();
    let refused = tokio::select! {
        answer = answer(&mut second) => (answer, &mut third),
        answer = answer(&mut third) => (answer, &mut second),
    };
    let ((head, _), waiting) = refused;
    assert_eq!(status(&head), 503);
    assert_eq!(header(&head, "retry-after"), Some("2"));
    assert_eq!(application.count(), 1);
    release.add_permits(2);
    assert_eq!(status(&answer(&mut first).await.0), 200);
    assert_eq!(status(&answer(waiting).await.0), 200);
}

#[tokio::test]
async fn nobody_waits_for_a_place_longer_than_for_a_connection() {
    let application = slow(Arc::new(Semaphore::new(0))).await;
    let mut proxied = application.at("/app");
    proxied.max_connections = NonZeroUsize::new(1).unwrap();
    proxied.connect_timeout = SHORT;
    let door = door(vec![proxied]).await;
    let mut first = visitor(&door, "127.0.0.1").await;
    first.write_all(GET.as_bytes()).await.unwrap();
    crate::door::until("asked", || application.heard().contains("GET")).await;
    let start = callbox::net::clock::now();
    let mut second = visitor(&door, "127.0.0.2").await;
    assert_eq!(status(&ask_on(&mut second, GET).await.0), 503);
    assert!(callbox::net::clock::now() - start < PATIENCE / 2);
}

#[tokio::test]
async fn one_visitor_cannot_take_every_place() {
    let release = Arc::new(Semaphore::new(0));
    let application = slow(release.clone()).await;
    let mut proxied = application.at("/app");
    proxied.max_connections = NonZeroUsize::new(4).unwrap();
    let door = door(vec![proxied]).await;
    let mut greedy = Vec::new();
    for number in 1..=2 {
        let mut one = visitor(&door, "127.0.0.1").await;
        one.write_all(GET.as_bytes()).await.unwrap();
        crate::door::until("asked", || application.count() == number).await;
        greedy.push(one);
    }
    let mut more = visitor(&door, "127.0.0.1").await;
    assert_eq!(status(&ask_on(&mut more, GET).await.0), 503);
    let mut other = visitor(&door, "127.0.0.2").await;
    other.write_all(GET.as_bytes()).await.unwrap();
    crate::door::until("asked", || application.count() == 3).await;
    release.add_permits(3);
    assert_eq!(status(&answer(&mut other).await.0), 200);
    for one in &mut greedy {
        assert_eq!(status(&answer(one).await.0), 200);
    }
    // The share comes back with the answers.
    release.add_permits(1);
    assert_eq!(status(&ask_on(&mut more, GET).await.0), 200);
}

#[tokio::test]
async fn many_visitors_share_few_connections_and_every_one_gets_the_own_answer() {
    let application = Application::start(|_, mut connection| async move {
        while let Some((head, body)) = connection.request().await {
            let path = head.split(' ').nth(1).unwrap();
            let body = format!("{path} {}", String::from_utf8_lossy(&body));
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            connection.say(&answer).await;
        }
    })
    .await;
    let mut proxied = application.at("/app");
    proxied.max_connections = NonZeroUsize::new(16).unwrap();
    let door = door(vec![proxied]).await;
    let mut visitors = Vec::new();
    for number in 0..4 {
        let visitor = crate::messages::http2_visitor::<Full<Bytes>>(&door).await;
        for request in 0..50 {
            let (mut visitor, port) = (visitor.clone(), door.https.port());
            visitors.push(door.drain.spawn(async move {
                let path = format!("/app/{number}/{request}");
                let url = format!("https://localhost:{port}{path}");
                let body = format!("body {number} {request}");
                loop {
                    let asked = hyper::Request::post(&url)
                        .body(Full::new(Bytes::from(body.clone())))
                        .unwrap();
                    let answered = visitor.send_request(asked).await.unwrap();
                    // One visitor has half of the places at most.
                    if answered.status() == 503 {
                        tokio::time::sleep(SHORT / 20).await;
                        continue;
                    }
                    let bytes = answered.into_body().collect().await.unwrap().to_bytes();
                    assert_eq!(bytes, format!("{path} {body}"));
                    return;
                }
            }));
        }
    }
    for visitor in visitors {
        within(visitor).await.unwrap();
    }
    assert!(
        application.count() <= 50,
        "{} connections",
        application.count()
    );
}

#[tokio::test]
async fn the_drain_does_not_wait_for_connections_that_nobody_uses() {
    let application = Application::saying(OK).await;
    let door = door(vec![application.at("/app")]).await;
    assert_eq!(door.get("/app", &[]).await.status, 200);
    door.drain.begin();
    assert!(door.drain.finish(PATIENCE).await);
}

#[tokio::test]
async fn the_drain_waits_for_an_answer_that_is_under_way() {
    let release = Arc::new(Semaphore::new(0));
    let application = slow(release.clone()).await;
    let door = door(vec![application.at("/app")]).await;
    let mut visitor = door.tls(&["http/1.1"]).await;
    visitor.write_all(GET.as_bytes()).await.unwrap();
    crate::door::until("asked", || application.heard().contains("GET")).await;
    door.drain.begin();
    release.add_permits(1);
    assert_eq!(status(&answer(&mut visitor).await.0), 200);
    assert!(door.drain.finish(PATIENCE).await);
}
