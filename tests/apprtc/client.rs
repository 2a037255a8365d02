//! A server, and what any of AppRTC's clients is made of: requests, and a socket.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::door::{Door, Reply, Setup, within};

/// What the server says in place of a client that cannot.
pub(crate) const BYE: &str = r#"{"type":"bye"}"#;

pub(crate) struct Server {
    pub(crate) door: Door,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(mut setup: Setup) -> Self {
        // Everybody here comes from one address.
        setup.settings.signaling.prefix_messages_per_second = 0;
        setup.settings.signaling.prefix_connections_per_second = 0;
        Self::strict(setup).await
    }

    /// With the limits as they are given.
    pub(crate) async fn strict(setup: Setup) -> Self {
        Self {
            door: setup.open().await,
        }
    }

    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.door.https.port())
    }

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &str,
    ) -> Reply {
        let extra: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Length: {}\r\n{extra}\r\n{body}",
            self.host(),
            body.len(),
        );
        self.door.ask(&request).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Reply {
        self.request("POST", path, &[], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.door.get(path, &[]).await
    }

    /// The answer to a join, whatever it is.
    pub(crate) async fn try_join(&self, room: &str) -> Value {
        let reply = self.post(&format!("/join/{room}"), "").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        reply.json()
    }

    pub(crate) async fn join(&self, room: &str) -> Person {
        let answer = self.try_join(room).await;
        assert_eq!(answer["result"], "SUCCESS", "{answer}");
        let params = answer["params"].clone();
        // The query is not a part of the room.
        let room = params["room_id"].as_str().unwrap().to_owned();
        Person {
            id: params["client_id"].as_str().unwrap().to_owned(),
            room,
            params,
        }
    }

    /// The result of posting a message.
    pub(crate) async fn message(&self, person: &Person, body: &str) -> String {
        let path = format!("/message/{}/{}", person.room, person.id);
        let reply = self.post(&path, body).await;
        assert_eq!(reply.status, 200);
        reply.json()["result"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn leave(&self, person: &Person) {
        let path = format!("/leave/{}/{}", person.room, person.id);
        let reply = self.post(&path, "").await;
        assert_eq!((reply.status, reply.text()), (200, ""));
    }

    pub(crate) async fn delete(&self, person: &Person) {
        let path = format!("/collider/{}/{}", person.room, person.id);
        let reply = self.request("DELETE", &path, &[], "").await;
        assert_eq!((reply.status, reply.text()), (200, "OK\n"));
    }

    pub(crate) async fn socket(&self) -> Socket {
        self.socket_from("/ws", None).await.unwrap()
    }

    /// The status, where it is not a WebSocket.
    pub(crate) async fn socket_from(
        &self,
        path: &str,
        origin: Option<&str>,
    ) -> Result<Socket, u16> {
        let stream = self.door.tls(&["http/1.1"]).await;
        let url = format!("wss://{}{path}", self.host());
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            let headers = request.headers_mut();
            headers.insert("origin", origin.parse().unwrap());
        }
        match within(client_async(request, stream)).await {
            Ok((stream, _)) => Ok(Socket { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    /// A socket that belongs to this person.
    pub(crate) async fn registered(&self, person: &Person) -> Socket {
        let mut socket = self.socket().await;
        socket.register(&person.room, &person.id).await;
        // There is no answer. A frame that has one shows that it has been dealt with.
        socket.fence().await;
        socket
    }

    /// Two people with sockets in one room.
    pub(crate) async fn pair(&self, room: &str) -> (Person, Socket, Person, Socket) {
        let first = self.join(room).await;
        let mut one = self.socket().await;
        one.register(&first.room, &first.id).await;
        one.fence().await;
        let second = self.join(room).await;
        let other = self.registered(&second).await;
        (first, one, second, other)
    }
}

/// Somebody who has joined.
pub(crate) struct Person {
    pub(crate) room: String,
    pub(crate) id: String,
    pub(crate) params: Value,
}

impl Person {
    pub(crate) fn is_initiator(&self) -> bool {
        match self.params["is_initiator"].as_str().unwrap() {
            "true" => true,
            "false" => false,
            other => panic!("{other}"),
        }
    }

    pub(crate) fn messages(&self) -> Vec<&str> {
        let messages = self.params["messages"].as_array().unwrap().iter();
        messages.map(|message| message.as_str().unwrap()).collect()
    }
}

pub(crate) struct Socket {
    stream: WebSocketStream<TlsStream<TcpStream>>,
}

impl Socket {
    pub(crate) async fn say(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn register(&mut self, room: &str, id: &str) {
        let frame = json!({"cmd": "register", "roomid": room, "clientid": id});
        self.say(&frame.to_string()).await;
    }

    pub(crate) async fn send(&mut self, msg: &str) {
        let frame = json!({"cmd": "send", "msg": msg});
        self.say(&frame.to_string()).await;
    }

    /// The next frame, which has both keys, as all of them do.
    async fn frame(&mut self) -> (String, String) {
        let frame = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("waited for a frame, got {other:?}"),
                }
            }
        };
        let text = within(frame).await;
        let frame: Value = serde_json::from_str(&text).unwrap();
        let field = |name: &str| match &frame[name] {
            Value::String(text) => text.clone(),
            other => panic!("{name} is {other} in {text}"),
        };
        (field("msg"), field("error"))
    }

    /// The next message.
    pub(crate) async fn hears(&mut self) -> String {
        let (msg, error) = self.frame().await;
        assert_eq!(error, "");
        assert_ne!(msg, "");
        msg
    }

    pub(crate) async fn hears_error(&mut self) -> String {
        let (msg, error) = self.frame().await;
        assert_eq!(msg, "");
        error
    }

    /// What was said before has been dealt with, and nothing was to be heard until now.
    pub(crate) async fn fence(&mut self) {
        self.say(r#"{"cmd":"fence"}"#).await;
        assert_eq!(
            self.hears_error().await,
            "Invalid message: unexpected 'cmd'"
        );
    }

    /// Nothing more comes but the end, and it is an orderly one.
    pub(crate) async fn ends(&mut self) {
        let end = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Text(text))) => panic!("heard {text}"),
                    Some(Ok(Message::Close(_))) => return,
                    Some(Ok(_)) => {}
                    other => panic!("ended by {other:?}"),
                }
            }
        };
        within(end).await;
    }

    pub(crate) async fn close(mut self, code: CloseCode) {
        let frame = CloseFrame {
            code,
            reason: "".into(),
        };
        self.stream.close(Some(frame)).await.unwrap();
        let rest = async { while let Some(Ok(_)) = self.stream.next().await {} };
        within(rest).await;
    }

    /// For what is not of this dialect.
    pub(crate) fn raw(&mut self) -> &mut WebSocketStream<TlsStream<TcpStream>> {
        &mut self.stream
    }

    /// The client is killed: its kernel closes the connection without a word.
    pub(crate) fn vanish(self) {
        drop(self);
    }
}
