//! One WebSocket: frames in, events out, and the reasons to end it.
//!
//! One task and one loop a connection. It reads while a write is stuck, so a peer that does not read
//! is still heard; it writes only when the last frame has left, so what a slow peer holds up is the
//! bounded outbox. Rooms are the hub's business, JSON the dialect's.

mod bucket;
mod collider;
mod farewell;
mod guest;
mod timing;
mod wire;

use std::future::{Future as _, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};
use tracing::{Instrument as _, debug, debug_span};

use super::core::{Event, MEMBER_ID_MAX, Ticket};
use super::dialect::{Dialect, Malformed, Request, native};
use super::frame::{Found, Opcode, Text};
use super::hub::{Connection, Cut, Hub, Item};
use super::stats::Stats;
use crate::net::clock;
use crate::shutdown::Drain;
use crate::telemetry::log::Client;
use crate::telemetry::repeats::{Repeated, note};

use bucket::Bucket;
use collider::Socket;
use farewell::End;
use guest::Guest;
use timing::{Due, Timing};
use wire::Wire;

/// Who a WebSocket leads to, as the HTTP request that opened it has it.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Its address.
    pub peer: SocketAddr,
    /// What it has asked to speak.
    pub dialect: Dialect,
    /// The name under which it reaches us, as it is written in a URL.
    pub host: Box<str>,
    /// A token that came with the request, for clients that cannot put one into a message.
    pub token: Option<Box<str>>,
    /// All that stood behind the question mark.
    pub query: Box<str>,
}

/// Serves one client until either side has enough. `stream` has had its handshake, with which
/// `received` has come; `drain` is the one the hub was started with.
pub async fn run<S, R>(stream: S, received: R, visitor: Visitor, hub: Hub, drain: Drain)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    R: AsRef<[u8]>,
{
    let dialect = visitor.dialect;
    let limit = hub.settings().max_message;
    let most = limit.saturating_add(OWN_FRAME).saturating_mul(2) + BATCH;
    let socket = Wire::new(stream, received.as_ref(), limit, most);
    drop(received);
    let connection = if drain.is_announced() {
        None
    } else {
        hub.connect(visitor.peer, dialect.resumes()).ok()
    };
    let Some(connection) = connection else {
        return Box::pin(farewell::say(socket, dialect, End::Restart)).await;
    };
    // Of its own, whatever connection it came over: that one's is over by now. Only while somebody
    // looks: nothing above debug is said in it, and it would take its memory, and keep a part of it,
    // for each of thousands of quiet connections.
    let span = debug_span!(
        parent: None,
        "session",
        connection = connection.id().number(),
        client = %Client(visitor.peer),
        ?dialect,
    );
    let ip = visitor.peer.ip();
    async {
        debug!("connected");
        let mut session = Session::new(socket, visitor, &hub, &connection);
        let end = session.serve().await;
        debug!(%end, "ending");
        if let Some(counter) = end.counter(hub.stats()) {
            Stats::add(counter);
        }
        if let Some(repeated) = end.repeated() {
            note(repeated, ip);
        }
        session.apprtc.close(&end);
        session.guest = None;
        let dialect = session.visitor.dialect;
        let socket = session.socket;
        // The seat is free, or kept, before the client has been seen off.
        connection.disconnect(end.departure());
        // On the heap, and only now: it is not to be part of every session from its first moment.
        Box::pin(farewell::say(socket, dialect, end)).await;
    }
    .instrument(span)
    .await;
}

struct Session<'a, S> {
    socket: Wire<S>,
    connection: &'a Connection,
    hub: &'a Hub,
    visitor: Visitor,
    /// Whether a frame has decided the dialect.
    is_settled: bool,
    /// The seat of a client that can come back to it.
    seat: Option<Seat>,
    /// Who and where it is, for a dialect that is told so each time.
    own: Option<Box<Ticket>>,
    /// What it is to AppRTC.
    apprtc: Socket,
    /// What it is to a further dialect.
    guest: Option<Guest>,
    timing: Timing,
    messages: Bucket,
    malformed: Bucket,
}

/// What is known of a seat that can be resumed.
struct Seat {
    ticket: Box<Ticket>,
    /// The number of the last message written. A ping carries it, and the pong brings it back:
    /// everything before has arrived then.
    written: u64,
    /// The last number that came back, if any has.
    acknowledged: Option<u64>,
}

/// What wakes a session up.
enum Turn {
    Received(Found),
    Alarm,
}

impl<'a, S> Session<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn new(socket: Wire<S>, visitor: Visitor, hub: &'a Hub, connection: &'a Connection) -> Self {
        let now = clock::now();
        let settings = hub.settings();
        Self {
            socket,
            connection,
            hub,
            is_settled: visitor.dialect != Dialect::default(),
            visitor,
            seat: None,
            own: None,
            apprtc: Socket::default(),
            guest: None,
            timing: Timing::new(&settings, now),
            messages: Bucket::new(MESSAGE_BURST, settings.messages_per_second, now),
            malformed: Bucket::new(MALFORMED_BURST, MALFORMED_PER_SECOND, now),
        }
    }

    async fn serve(&mut self) -> End {
        if let Err(end) = self.enter() {
            return end;
        }
        let mut alarm = pin!(sleep_until(Instant::from_std(self.timing.deadline())));
        loop {
            let done = match poll_fn(|cx| self.poll_turn(alarm.as_mut(), cx)).await {
                Ok(Turn::Received(message)) => self.received(message),
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
        if let Poll::Ready(found) = self.socket.poll_next(cx) {
            return Poll::Ready(found.map(Turn::Received).map_err(End::from));
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
        for _ in 0..BATCHES_A_TURN {
            if self.socket.is_unflushed() {
                match self.socket.poll_flush(cx) {
                    Poll::Ready(flushed) => flushed.map_err(End::Lost)?,
                    Poll::Pending => {
                        self.timing.stuck(clock::now());
                        return match self.connection.outbox().poll_in_vain(cx) {
                            Poll::Ready(cut) => Err(End::from(cut)),
                            Poll::Pending => Ok(()),
                        };
                    }
                }
                self.timing.flushed();
            }
            // What is waiting leaves together: one record of TLS and one system call for all.
            while self.socket.waiting() < BATCH {
                match self.connection.outbox().poll_take(cx) {
                    Poll::Ready(Ok(item)) => self.say(item)?,
                    Poll::Ready(Err(cut)) => return Err(End::from(cut)),
                    Poll::Pending if self.socket.is_unflushed() => break,
                    Poll::Pending => return Ok(()),
                }
            }
        }
        // More may be waiting, but what came in has a right to be heard in between.
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn say(&mut self, item: Item) -> Result<(), End> {
        let (event, number) = match item {
            Item::Text(text) => return self.send(Opcode::Text, text.as_bytes()),
            Item::Event(event, number) => (event, number),
        };
        match event {
            Event::Relayed(text) | Event::Answered(text) => {
                self.send(Opcode::Text, text.as_bytes())?;
            }
            Event::Joined { ref ticket, .. } | Event::Resumed { ref ticket, .. }
                if self.visitor.dialect.resumes() =>
            {
                self.seated(ticket, &event)?;
            }
            event => {
                if let (Dialect::Lower, Event::Joined { ticket, .. }) =
                    (self.visitor.dialect, &event)
                {
                    self.own = Some(Box::new(ticket.clone()));
                }
                let own = self.own.as_ref().map(|ticket| &ticket.member);
                for text in self.visitor.dialect.encode(&event, own, None) {
                    self.send(Opcode::Text, text.as_bytes())?;
                }
            }
        }
        if let (Some(seat), Some(number)) = (&mut self.seat, number) {
            seat.written = number;
        }
        Ok(())
    }

    /// The client has a seat: gives it what it needs, and asks whether it has arrived.
    fn seated(&mut self, ticket: &Ticket, event: &Event<Text>) -> Result<(), End> {
        let reception = self.hub.reception();
        let gifts = reception.gifts(ticket, &self.visitor.host);
        let welcome = reception.welcome(&gifts);
        for text in self.visitor.dialect.encode(event, None, Some(&welcome)) {
            self.send(Opcode::Text, text.as_bytes())?;
        }
        self.timing.renew_at(clock::now() + reception.renewal());
        self.seat = Some(Seat {
            ticket: Box::new(ticket.clone()),
            // What is told again has numbers of its own.
            written: 0,
            acknowledged: None,
        });
        self.ping()
    }

    fn ping(&mut self) -> Result<(), End> {
        let number = self.seat.as_ref().map(|seat| seat.written.to_be_bytes());
        let payload = number.as_ref().map_or(&[][..], |number| number);
        self.send(Opcode::Ping, payload)
    }

    /// The client's answer to a ping.
    fn ponged(&mut self, payload: &[u8]) {
        let Some(seat) = &mut self.seat else {
            return;
        };
        let Ok(number) = <[u8; 8]>::try_from(payload).map(u64::from_be_bytes) else {
            return;
        };
        // What was never written cannot have arrived.
        if number > seat.written || seat.acknowledged.is_some_and(|before| before >= number) {
            return;
        }
        seat.acknowledged = Some(number);
        self.connection.acknowledge(number);
    }

    fn send(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), End> {
        // Only the answers to pings of the peer can have filled it: it asks and does not read.
        self.socket.send(opcode, payload).map_err(|_| End::Stuck)
    }

    fn alarm(&mut self) -> Result<(), End> {
        match self.timing.due(clock::now()) {
            Due::Silent => Err(End::Silent),
            Due::Stuck => Err(End::Stuck),
            // With a frame stuck in front of it a ping would say nothing about the peer.
            Due::Ping if !self.socket.is_unflushed() => self.ping(),
            Due::Renew => {
                self.renew(Asked::No);
                Ok(())
            }
            Due::Ping | Due::Nothing => Ok(()),
        }
    }

    /// Gives the client fresh credentials.
    fn renew(&mut self, asked: Asked) {
        let reception = self.hub.reception();
        let text = self.seat.as_ref().and_then(|seat| {
            let gifts = reception.gifts(&seat.ticket, &self.visitor.host);
            native::ice_servers(&reception.welcome(&gifts))
        });
        self.timing.renew_at(clock::now() + reception.renewal());
        match (text, asked) {
            (Some(text), Asked::Yes) => self.connection.answer(text.into()),
            (Some(text), Asked::No) => self.connection.notice(text.into()),
            (None, Asked::Yes) => {
                let dialect = self.visitor.dialect;
                deny(self.connection, dialect, &native::Complaint::NotJoined);
            }
            (None, Asked::No) => {}
        }
    }

    fn received(&mut self, found: Found) -> Result<(), End> {
        let now = clock::now();
        self.timing.heard(now);
        if !self.messages.take(now) || !self.hub.allows(self.visitor.peer.ip(), now) {
            return Err(End::TooFast);
        }
        match found {
            Found::Text(text) => self.text(text, now),
            Found::Binary => Err(End::Binary),
            Found::Close(code) => Err(End::Closed(code)),
            Found::Pong(payload) => {
                self.ponged(&payload);
                Ok(())
            }
            Found::Ping(payload) => self.send(Opcode::Pong, &payload),
        }
    }

    /// Somebody came without what it takes.
    fn denied(&self) {
        Stats::add(&self.hub.stats().denied);
        note(Repeated::NotAdmitted, self.visitor.peer.ip());
    }

    fn text(&mut self, text: Text, now: std::time::Instant) -> Result<(), End> {
        let Ok(request) = self.understand(&text) else {
            Stats::add(&self.hub.stats().malformed);
            note(Repeated::MalformedMessage, self.visitor.peer.ip());
            if !self.malformed.take(now) {
                return Err(End::Malformed);
            }
            if let Some(complaint) = self.visitor.dialect.complaint() {
                self.connection.answer(complaint.into());
            }
            return Ok(());
        };
        let (connection, dialect) = (self.connection, self.visitor.dialect);
        match request {
            Request::Join {
                room,
                member,
                token,
            } => {
                let token = token.as_deref().or(self.visitor.token.as_deref());
                let reception = self.hub.reception();
                match reception.admit(dialect, &room, member, token) {
                    Ok((member, terms)) => connection.join(room, member, terms),
                    Err(why) => {
                        self.denied();
                        deny(connection, dialect, &why);
                    }
                }
            }
            Request::Resume { ticket, received } => match self.hub.reception().ticket(&ticket) {
                Ok(ticket) => connection.resume(ticket, received),
                Err(why) => {
                    self.denied();
                    deny(connection, dialect, &why);
                }
            },
            Request::Leave(claim) if dialect == Dialect::Lower => self.leave_lower(&claim),
            Request::Leave(claim) => connection.leave(&claim),
            Request::Say { claim, to, text } => connection.relay(&claim, &to, &text.into()),
            Request::Relay { claim, to } => connection.relay(&claim, &to, &text),
            Request::Door { claim, door } => connection.door(&claim, door),
            Request::Ice => self.renew(Asked::Yes),
            // Of those in a room only: what others say is about no call.
            Request::Report(_) if self.seat.is_none() => {
                deny(connection, dialect, &native::Complaint::NotJoined)
            }
            Request::Report(outcome) => {
                self.hub.stats().ended_as(outcome);
                connection.answer(native::REPORTED.into());
            }
            Request::Answer(text) => connection.answer(text.into()),
            Request::Reply(reply) => {
                let reply = Item::Text(reply.into());
                return connection.outbox().push(reply).map_err(|_| End::TooSlow);
            }
            Request::Ask(ask) => return self.ask(ask, &text),
            Request::Collider(command) => {
                let client = self.visitor.peer;
                return self.apprtc.obey(command, connection, client, self.hub);
            }
            Request::Speaks(_) | Request::Nothing => {}
        }
        Ok(())
    }

    /// What a frame asks for. The first one that is more than a heartbeat decides the dialect.
    fn understand(&mut self, text: &str) -> Result<Request, Malformed> {
        let mut request = self.visitor.dialect.parse(text)?;
        if let (Request::Speaks(dialect), false) = (&request, self.is_settled) {
            self.visitor.dialect = *dialect;
            request = dialect.parse(text)?;
        }
        self.is_settled |= !matches!(request, Request::Nothing | Request::Reply(_));
        Ok(request)
    }
}

/// Says why a request went no further than this session.
fn deny(connection: &Connection, dialect: Dialect, why: &native::Complaint) {
    if let Some(text) = dialect.deny(why) {
        connection.answer(text.into());
    }
}

/// Whether a client wants to be given something, and so counts on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Yes,
    No,
}

impl From<Cut> for End {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::TooSlow => Self::TooSlow,
            Cut::Restart => Self::Restart,
            Cut::Done => Self::Done,
            Cut::Superseded => Self::Superseded,
            Cut::Evicted => Self::Evicted,
        }
    }
}

impl End {
    /// How the log calls it, where many of it say more than one.
    fn repeated(&self) -> Option<Repeated> {
        match self {
            Self::Stuck | Self::TooSlow => Some(Repeated::TooSlow),
            Self::TooFast => Some(Repeated::TooFast),
            Self::Silent => Some(Repeated::Silent),
            _ => None,
        }
    }

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

/// Bound of a frame of ours: two names in which each byte needs an escape, and the words around.
const OWN_FRAME: usize = 2 * (super::core::ROOM_NAME_MAX + 2 * MEMBER_ID_MAX) + 256;

/// Bytes of frames that leave together: what one record of TLS holds.
const BATCH: usize = 16 * 1024;

/// Batches written before the socket is read again.
const BATCHES_A_TURN: usize = 4;

/// The message rate's bucket: an offer or answer and its candidates come all at once.
const MESSAGE_BURST: u32 = 200;

/// Messages that are not JSON: one by mistake, or a keep-alive of somebody's invention, is borne;
/// a stream of them is not.
const MALFORMED_BURST: u32 = 10;
const MALFORMED_PER_SECOND: u32 = 1;
