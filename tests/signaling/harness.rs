//! A hub behind a plain WebSocket listener, and clients that know what they expect.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use callbox::config::settings::{self, Auth, IcePolicy};
use callbox::config::{Secret, Settings};
use callbox::http::router::{self, World};
use callbox::ice::{Endpoints, Issuer};
use callbox::shutdown::Drain;
use callbox::signal::Snapshot;
use callbox::signal::dialect::Dialect;
use callbox::signal::hub::Hub;
use callbox::signal::keyring::Keyring;
use callbox::signal::reception::Reception;
use callbox::signal::session::{self, Visitor};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_async, accept_hdr_async, client_async};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The defaults of the product.
pub(crate) fn settings() -> settings::Signaling {
    settings::Signaling {
        // Everybody here comes from one address.
        prefix_messages_per_second: 0,
        ..Settings::builtin("/nowhere".into()).signaling
    }
}

/// The door of a server whose tickets another one understands.
fn reception(
    settings: &settings::Signaling,
    ttl: Duration,
    keyring: Option<Arc<Keyring>>,
) -> Reception {
    let secret = Secret::new("north");
    let issuer = Issuer {
        secret: secret.clone(),
        endpoints: Endpoints {
            udp_port: Some(3478),
            ..Endpoints::default()
        },
        ttl,
        policy: IcePolicy::All,
        extra_servers: Vec::new(),
    };
    Reception::new(settings, &secret, issuer, keyring)
}

fn visitor(peer: SocketAddr, dialect: Dialect) -> Visitor {
    Visitor {
        peer,
        dialect,
        host: "callbox.test".into(),
        token: None,
        query: "".into(),
    }
}

/// The same with room for more people.
pub(crate) fn settings_for(people: usize) -> settings::Signaling {
    settings::Signaling {
        room_capacity: NonZeroUsize::new(people).unwrap(),
        ..settings()
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) hub: Hub,
    pub(crate) drain: Drain,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) async fn start(settings: settings::Signaling) -> Self {
        Self::start_with(settings, None).await
    }

    /// With a limit on what the kernel holds for a client that does not read.
    pub(crate) async fn start_with(
        settings: settings::Signaling,
        send_buffer: Option<u32>,
    ) -> Self {
        Self::start_giving(settings, send_buffer, Duration::from_secs(12 * 3600)).await
    }

    /// With credentials that are good for so long.
    pub(crate) async fn start_giving(
        settings: settings::Signaling,
        send_buffer: Option<u32>,
        ttl: Duration,
    ) -> Self {
        let drain = Drain::new();
        let keyring = match &settings.auth {
            Auth::Open => None,
            Auth::Token(files) => {
                let keyring = Arc::new(Keyring::open(files).unwrap());
                drain.spawn(Arc::clone(&keyring).watch(Duration::from_millis(20)));
                Some(keyring)
            }
        };
        let hub = Hub::start(&settings, reception(&settings, ttl, keyring), &drain);
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(size) = send_buffer {
            socket.set_send_buffer_size(size).unwrap();
        }
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        // Not a task of the drain: who comes during a restart is to be seen.
        Drain::new().spawn(accept(listener, hub.clone(), drain.clone()));
        Self {
            hub,
            drain,
            address,
        }
    }

    /// Gives it other settings, as a changed file does.
    pub(crate) async fn apply(&self, settings: &settings::Signaling) {
        let keyring = match &settings.auth {
            Auth::Open => None,
            Auth::Token(files) => Some(Arc::new(Keyring::open(files).unwrap())),
        };
        let reception = reception(settings, Duration::from_secs(12 * 3600), keyring);
        self.hub.apply(settings, reception);
    }

    pub(crate) async fn client(&self) -> Client {
        Client::at(self.address).await
    }

    /// A client, and the task that serves it.
    pub(crate) async fn client_with_its_session(&self) -> (Client, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (hub, drain) = (self.hub.clone(), self.drain.clone());
        let session = self.drain.spawn(async move {
            let (socket, peer) = listener.accept().await.unwrap();
            let socket = accept_async(socket).await.unwrap().into_inner();
            session::run(socket, [], visitor(peer, Dialect::Course), hub, drain).await;
        });
        (Client::at(address).await, session)
    }

    /// A client whose kernel holds next to nothing for it.
    pub(crate) async fn client_with_little_memory(&self) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Client::over(socket.connect(self.address).await.unwrap()).await
    }

    pub(crate) async fn joined(&self, room: &str, uid: &str) -> Client {
        let mut client = self.client().await;
        client.join(room, uid).await;
        client.fence().await;
        client
    }

    /// Two members of one room who have met.
    pub(crate) async fn pair(&self, room: &str) -> (Client, Client) {
        let mut first = self.joined(room, "a").await;
        let mut second = self.client().await;
        second.join(room, "b").await;
        second.hears_cmd("resp-join", "a").await;
        first.hears_cmd("new-peer", "b").await;
        (first, second)
    }

    /// Fails if any of the clients has heard, or is about to hear, anything in consequence of what
    /// was said so far.
    pub(crate) async fn all_quiet<const N: usize>(&self, mut clients: [&mut Client; N]) {
        for client in &mut clients {
            client.fence().await;
        }
        // Everything said is with the hub now. It obeys in order, so once strangers have met it is
        // done with all of it.
        let mut first = self.client().await;
        first.join("referee", "first").await;
        first.fence().await;
        let mut second = self.client().await;
        second.join("referee", "second").await;
        second.hears_cmd("resp-join", "first").await;
        for client in &mut clients {
            client.fence().await;
        }
    }

    /// Waits until the numbers are as they should be.
    pub(crate) async fn stats_become(&self, as_expected: impl Fn(&Snapshot) -> bool) {
        let become_so = async {
            while !as_expected(&self.hub.stats().snapshot()) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        if timeout(PATIENCE, become_so).await.is_err() {
            panic!("still {:?}", self.hub.stats().snapshot());
        }
    }
}

async fn accept(listener: TcpListener, hub: Hub, drain: Drain) {
    loop {
        let (socket, peer) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (hub, its_drain) = (hub.clone(), drain.clone());
        drain.spawn(async move {
            let mut visitor = visitor(peer, Dialect::Course);
            #[expect(clippy::result_large_err, reason = "the library's signature")]
            let choose = |request: &Request, mut response: Response| {
                if let Some(offered) = request.headers().get(SEC_WEBSOCKET_PROTOCOL) {
                    visitor.dialect = Dialect::of_protocols(offered.to_str().ok()).unwrap();
                    let headers = response.headers_mut();
                    headers.insert(SEC_WEBSOCKET_PROTOCOL, offered.clone());
                }
                match router::world(request.uri().path()) {
                    Some(World::PeerJs) => visitor.dialect = Dialect::PeerJs,
                    Some(World::Topics) => visitor.dialect = Dialect::Topics,
                    None => {}
                }
                let query = request.uri().query().unwrap_or_default();
                let token = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("token="));
                visitor.token = token.map(Box::from);
                visitor.query = query.into();
                Ok(response)
            };
            // Only for the handshake: the frames are what is tested.
            if let Ok(socket) = accept_hdr_async(socket, choose).await {
                let stream = socket.into_inner();
                session::run(stream, [], visitor, hub, its_drain).await;
            }
        });
    }
}

/// A page, as far as the server can see.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(crate) async fn at(server: SocketAddr) -> Self {
        Self::over(TcpStream::connect(server).await.unwrap()).await
    }

    async fn over(socket: TcpStream) -> Self {
        Self::over_to(socket, "/ws").await
    }

    /// One that asks for this path and query.
    pub(crate) async fn at_path(server: SocketAddr, path: &str) -> Self {
        Self::over_to(TcpStream::connect(server).await.unwrap(), path).await
    }

    async fn over_to(socket: TcpStream, path: &str) -> Self {
        socket.set_nodelay(true).unwrap();
        let url = format!("ws://callbox.test{path}");
        let (socket, _) = client_async(url, socket).await.unwrap();
        Self { socket }
    }

    /// One that speaks `callbox.v1`.
    pub(crate) async fn native_at(server: SocketAddr) -> Self {
        let socket = TcpStream::connect(server).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let mut request = "ws://callbox.test/ws".into_client_request().unwrap();
        let protocol = HeaderValue::from_static("callbox.v1");
        request
            .headers_mut()
            .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        let (socket, answer) = client_async(request, socket).await.unwrap();
        let chosen = answer.headers().get(SEC_WEBSOCKET_PROTOCOL).unwrap();
        assert_eq!(chosen, "callbox.v1");
        Self { socket }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn join(&mut self, room: &str, uid: &str) {
        let frame = json!({"cmd": "join", "roomId": room, "uid": uid});
        self.say(&frame.to_string()).await;
    }

    pub(crate) async fn say_json(&mut self, frame: Value) {
        self.say(&frame.to_string()).await;
    }

    pub(crate) async fn hears_json(&mut self) -> Value {
        serde_json::from_str(&self.hears_text().await).unwrap()
    }

    /// The next text, whatever pings come in between.
    pub(crate) async fn hears_text(&mut self) -> String {
        let text = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => return text.as_str().to_owned(),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("waited for a text, got {other:?}"),
                }
            }
        };
        timeout(PATIENCE, text).await.expect("a text in time")
    }

    pub(crate) async fn hears(&mut self, expected: Value) {
        let text = self.hears_text().await;
        let heard: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(heard, expected);
    }

    /// `new-peer`, `peer-leave` or `resp-join` about `remote`.
    pub(crate) async fn hears_cmd(&mut self, cmd: &str, remote: &str) {
        let text = self.hears_text().await;
        let heard: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&heard["cmd"], &heard["remoteUid"]),
            (&json!(cmd), &json!(remote))
        );
    }

    /// What was said before is on its way, and nothing was to be heard until now.
    pub(crate) async fn fence(&mut self) {
        self.say(r#"{"type":"ping"}"#).await;
        assert_eq!(self.hears_text().await, r#""pong""#);
    }

    /// The code and the reason with which the server closes.
    pub(crate) async fn is_closed(&mut self) -> (u16, String) {
        let close = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return (u16::from(frame.code), frame.reason.as_str().to_owned());
                    }
                    Some(Ok(Message::Close(None))) | Some(Err(_)) | None => {
                        panic!("closed without a reason")
                    }
                    Some(Ok(_)) => {}
                }
            }
        };
        timeout(PATIENCE, close).await.expect("closed in time")
    }

    /// As [`Client::is_closed`], with nothing before the close.
    pub(crate) async fn hears_close_next(&mut self) -> (u16, String) {
        match timeout(PATIENCE, self.socket.next()).await {
            Ok(Some(Ok(Message::Close(Some(frame))))) => {
                (u16::from(frame.code), frame.reason.as_str().to_owned())
            }
            other => panic!("waited for a close frame, got {other:?}"),
        }
    }

    /// The server's close frame is followed by an orderly end of the connection.
    pub(crate) async fn ends(&mut self) {
        let end = async { while let Some(Ok(_)) = self.socket.next().await {} };
        timeout(PATIENCE, end).await.expect("ended in time");
    }

    /// Writes until the server will hear no more.
    pub(crate) async fn say_until_refused(&mut self, text: &str, most: usize) -> Result<(), Error> {
        for _ in 0..most {
            self.socket.feed(Message::text(text)).await?;
        }
        self.socket.flush().await
    }
}
