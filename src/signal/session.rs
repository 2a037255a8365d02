//! One WebSocket: frames in, events out, and the reasons to end it.
//!
//! One task and one loop a connection. It reads while a write is stuck, so a peer that does not read
//! is still heard; it writes only when the last frame has left, so what a slow peer holds up is the
//! bounded outbox. Rooms are the hub's business, JSON the dialect's.

mod bucket;
mod farewell;
mod timing;

use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::{Instrument as _, debug, debug_span};

use super::core::MEMBER_ID_MAX;
use super::dialect::{Dialect, Request};
use super::hub::{Connection, Cut, Hub, Item};
use super::stats::Stats;
use crate::config::settings;
use crate::net::clock;
use crate::shutdown::Drain;

use bucket::Bucket;
use farewell::End;
use timing::{Due, Timing};

/// How a WebSocket that is to be given to [`run`] must be accepted: small buffers, since most
/// sockets are idle, and the limits of the configuration.
pub fn websocket_config(settings: &settings::Signaling) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Each frame leaves at once; what cannot leave stays in the outbox.
        .write_buffer_size(0)
        .max_write_buffer_size(
            settings
                .max_message
                .saturating_add(OWN_FRAME)
                .saturating_mul(2),
        )
        .max_message_size(Some(settings.max_message))
        .max_frame_size(Some(settings.max_message))
        .accept_unmasked_frames(false)
}

/// Serves one client until either side has enough. `drain` is the one the hub was started with.
pub async fn run<S>(socket: WebSocketStream<S>, peer: SocketAddr, hub: Hub, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let connection = if drain.is_begun() {
        None
    } else {
        hub.connect().await.ok()
    };
    let Some(connection) = connection else {
        return farewell::say(socket, End::Restart).await;
    };
    let span = debug_span!("signaling", connection = connection.id().number());
    async {
        debug!(%peer, "connected");
        let mut session = Session::new(socket, &hub, &connection);
        let end = session.serve().await;
        debug!(%end, "ending");
        if let Some(counter) = end.counter(hub.stats()) {
            Stats::add(counter);
        }
        let socket = session.socket;
        // The seat is free before the client has been seen off.
        connection.disconnect().await;
        farewell::say(socket, end).await;
    }
    .instrument(span)
    .await;
}

struct Session<'a, S> {
    socket: WebSocketStream<S>,
    connection: &'a Connection,
    stats: &'a Stats,
    dialect: Dialect,
    timing: Timing,
    messages: Bucket,
    malformed: Bucket,
    /// Something was handed to the socket and may not have left yet.
    unflushed: bool,
}

/// What wakes a session up.
enum Turn {
    Received(Message),
    Alarm,
}

impl<'a, S> Session<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn new(socket: WebSocketStream<S>, hub: &'a Hub, connection: &'a Connection) -> Self {
        let now = clock::now();
        let settings = hub.settings();
        Self {
            socket,
            connection,
            stats: hub.stats(),
            dialect: Dialect::default(),
            timing: Timing::new(settings, now),
            messages: Bucket::new(MESSAGE_BURST, settings.messages_per_second, now),
            malformed: Bucket::new(MALFORMED_BURST, MALFORMED_PER_SECOND, now),
            unflushed: false,
        }
    }

    async fn serve(&mut self) -> End {
        let mut alarm = pin!(sleep_until(Instant::from_std(self.timing.deadline())));
        loop {
            let done = match poll_fn(|cx| self.poll_turn(alarm.as_mut(), cx)).await {
                Ok(Turn::Received(message)) => self.received(message).await,
                Ok(Turn::Alarm) => {
                    let done = self.alarm();
                    alarm
                        .as_mut()
                        .reset(Instant::from_std(self.timing.deadline()));
                    done
                }
                Err(end) => Err(end),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn poll_turn(
        &mut self,
        mut alarm: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Turn, End>> {
        self.poll_write(cx)?;
        if let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(cx) {
            return Poll::Ready(match message {
                Some(Ok(message)) => Ok(Turn::Received(message)),
                Some(Err(error)) => Err(End::from(error)),
                None => Err(End::Closed),
            });
        }
        let deadline = Instant::from_std(self.timing.deadline());
        // A deadline that has moved away is noticed when the alarm rings; one that has come nearer
        // is not. So a busy session leaves the timer alone.
        if deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
        alarm.poll(cx).map(|()| Ok(Turn::Alarm))
    }

    /// Writes what there is, as far as the peer takes it.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        for _ in 0..WRITES_A_TURN {
            if self.unflushed {
                match Pin::new(&mut self.socket).poll_flush(cx) {
                    Poll::Ready(flushed) => flushed.map_err(End::Lost)?,
                    Poll::Pending => {
                        self.timing.stuck(clock::now());
                        return match self.connection.outbox().poll_overflow(cx) {
                            Poll::Ready(()) => Err(End::TooSlow),
                            Poll::Pending => Ok(()),
                        };
                    }
                }
                self.unflushed = false;
                self.timing.flushed();
            }
            let item = match self.connection.outbox().poll_take(cx) {
                Poll::Ready(Ok(item)) => item,
                Poll::Ready(Err(Cut::TooSlow)) => return Err(End::TooSlow),
                Poll::Ready(Err(Cut::Restart)) => return Err(End::Restart),
                Poll::Pending => return Ok(()),
            };
            if let Some(text) = self.words(item) {
                self.send(Message::Text(text))?;
            }
        }
        // More may be waiting, but what came in has a right to be heard in between.
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn words(&self, item: Item) -> Option<Utf8Bytes> {
        use super::core::Event::Relayed;
        match item {
            Item::Text(text) | Item::Event(Relayed(text)) => Some(text),
            Item::Event(event) => self.dialect.encode(&event).map(Utf8Bytes::from),
        }
    }

    fn send(&mut self, message: Message) -> Result<(), End> {
        self.unflushed = true;
        Pin::new(&mut self.socket)
            .start_send(message)
            .map_err(|error| match error {
                // Only the answers to pings of the peer can have filled it: it asks and does not read.
                Error::WriteBufferFull(_) => End::Stuck,
                error => End::Lost(error),
            })
    }

    fn alarm(&mut self) -> Result<(), End> {
        match self.timing.due(clock::now()) {
            Due::Silent => Err(End::Silent),
            Due::Stuck => Err(End::Stuck),
            // With a frame stuck in front of it a ping would say nothing about the peer.
            Due::Ping if !self.unflushed => self.send(Message::Ping(Bytes::new())),
            Due::Ping | Due::Nothing => Ok(()),
        }
    }

    async fn received(&mut self, message: Message) -> Result<(), End> {
        let now = clock::now();
        self.timing.heard(now);
        if !self.messages.take(now) {
            return Err(End::TooFast);
        }
        match message {
            Message::Text(text) => self.text(text, now).await,
            Message::Binary(_) => Err(End::Binary),
            Message::Close(_) => Err(End::Closed),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    async fn text(&mut self, text: Utf8Bytes, now: std::time::Instant) -> Result<(), End> {
        let Ok(request) = self.dialect.parse(&text) else {
            Stats::add(&self.stats.malformed);
            return if self.malformed.take(now) {
                Ok(())
            } else {
                Err(End::Malformed)
            };
        };
        let connection = self.connection;
        match request {
            Request::Join { room, member } => connection.join(room, member).await,
            Request::Leave(claim) => connection.leave(claim).await,
            Request::Relay { claim, to } => connection.relay(claim, to, text).await,
            Request::Reply(reply) => {
                let reply = Item::Text(reply.into());
                return connection.outbox().push(reply).map_err(|_| End::TooSlow);
            }
            Request::Nothing => Ok(()),
        }
        .map_err(|_| End::Restart)
    }
}

impl End {
    /// What counts ends of this kind.
    fn counter<'a>(&self, stats: &'a Stats) -> Option<&'a AtomicU64> {
        match self {
            Self::Stuck | Self::TooSlow => Some(&stats.too_slow),
            Self::TooFast => Some(&stats.too_fast),
            Self::Silent => Some(&stats.silent),
            _ => None,
        }
    }
}

/// Enough for anything but the largest messages, which get a buffer of their own while they come.
const READ_BUFFER: usize = 4096;

/// Bound of a frame of ours: two names in which each byte needs an escape, and the words around.
const OWN_FRAME: usize = 2 * (super::core::ROOM_NAME_MAX + 2 * MEMBER_ID_MAX) + 256;

/// Frames written before the socket is read again.
const WRITES_A_TURN: usize = 32;

/// The message rate's bucket: an offer or answer and its candidates come all at once.
const MESSAGE_BURST: u32 = 200;

/// Messages that are not JSON: one by mistake, or a keep-alive of somebody's invention, is borne;
/// a stream of them is not.
const MALFORMED_BURST: u32 = 10;
const MALFORMED_PER_SECOND: u32 = 1;
