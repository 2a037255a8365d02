//! Many calls at once, some of which end badly: nothing is lost, nothing comes out of order, and
//! whoever is left is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callbox::config::settings;
use callbox::net::{clock, sys};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::harness::{Server, settings};

const ROOMS: usize = 2_000;

/// Rooms in which one of the two is killed.
const KILLED: usize = 500;

/// Messages of each member.
const MESSAGES: usize = 10;

/// Of one who is killed.
const LAST_WORDS: usize = MESSAGES / 2;

/// For everything, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(120);

/// Connections that are being made at a time: more than the listener's queue would wait a second.
const AT_ONCE: usize = 48;

struct Member {
    socket: WebSocketStream<TcpStream>,
    room: usize,
    uid: &'static str,
    mate: &'static str,
}

impl Member {
    async fn connect(server: &Server, room: usize, uid: &'static str, mate: &'static str) -> Self {
        let stream = TcpStream::connect(server.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let small = WebSocketConfig::default()
            .read_buffer_size(512)
            .write_buffer_size(0);
        let (socket, _) = client_async_with_config("ws://callbox.test/ws", stream, Some(small))
            .await
            .unwrap();
        let mut member = Self {
            socket,
            room,
            uid,
            mate,
        };
        let join = json!({"cmd": "join", "roomId": room.to_string(), "uid": uid});
        member.say(join).await;
        member
    }

    async fn say(&mut self, frame: Value) {
        let text = Message::text(frame.to_string());
        self.socket.send(text).await.unwrap();
    }

    async fn say_number(&mut self, number: usize) {
        let (room, uid, mate) = (self.room.to_string(), self.uid, self.mate);
        let frame = json!({
            "cmd": "candidate", "roomId": room, "uid": uid, "remoteUid": mate, "msg": number,
        });
        self.say(frame).await;
    }

    async fn hears(&mut self) -> Value {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("room {}: {other:?}", self.room),
            }
        }
    }

    async fn hears_cmd(&mut self, cmd: &str) {
        let heard = self.hears().await;
        let expected = (&json!(cmd), &json!(self.mate));
        let heard = (&heard["cmd"], &heard["remoteUid"]);
        assert_eq!(heard, expected, "room {}", self.room);
    }

    async fn hears_number(&mut self, number: usize) {
        let heard = self.hears().await;
        assert_eq!(heard["msg"], number, "room {}: {heard}", self.room);
        assert_eq!(heard["uid"], self.mate, "room {}", self.room);
    }

    /// Says everything and hears everything, both in turn.
    async fn talks(&mut self) {
        for number in 0..MESSAGES {
            self.say_number(number).await;
        }
        for number in 0..MESSAGES {
            self.hears_number(number).await;
        }
    }

    /// As a process that is killed with unread bytes, or a NAT that has forgotten.
    fn dies(self) -> Instant {
        let raw = self.socket.get_ref();
        socket2::SockRef::from(raw)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(self.socket);
        clock::now()
    }
}

/// One room from its first to its last member. How long the survivor waited to be told, if there
/// was one.
async fn room(
    server: Arc<Server>,
    number: usize,
    connecting: Arc<Semaphore>,
    everybody: Arc<Barrier>,
) -> Option<Duration> {
    let place = connecting.acquire().await.unwrap();
    let mut first = Member::connect(&server, number, "anna", "bert").await;
    let mut second = Member::connect(&server, number, "bert", "anna").await;
    // Either may have been the first.
    let (heard_first, heard_second) = (first.hears().await, second.hears().await);
    assert_eq!(heard_first["remoteUid"], "bert", "room {number}");
    assert_eq!(heard_second["remoteUid"], "anna", "room {number}");
    drop(place);
    everybody.wait().await;
    if number >= KILLED {
        tokio::join!(first.talks(), second.talks());
        return None;
    }
    let victim = async {
        for message in 0..LAST_WORDS {
            second.say_number(message).await;
        }
        // Its own end has not been heard of when this is: the call is going on.
        second.hears_number(0).await;
        second
    };
    let survivor = async {
        for message in 0..MESSAGES {
            first.say_number(message).await;
        }
        for message in 0..LAST_WORDS {
            first.hears_number(message).await;
        }
        first
    };
    let (victim, mut survivor) = tokio::join!(victim, survivor);
    let killed = victim.dies();
    survivor.hears_cmd("peer-leave").await;
    let waited = clock::now() - killed;
    // The seat is free: somebody else can have it, and the survivor is still whole.
    let mut other = Member::connect(&server, number, "bert", "anna").await;
    survivor.hears_cmd("new-peer").await;
    other.hears_cmd("resp-join").await;
    tokio::join!(survivor.talks(), other.talks());
    Some(waited)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_calls_lose_nothing_and_five_hundred_survivors_are_told() {
    let server = Server::start(settings::Signaling {
        // Nobody is to be counted as silent because the machine is slow.
        idle_timeout: LONG,
        ..settings()
    })
    .await;
    // Both ends of each connection are files of this process.
    let files = sys::raise_file_limit(4 * ROOMS as u64 + 500).unwrap();
    let together = ROOMS.min((files.saturating_sub(300) / 4) as usize);
    let server = Arc::new(server);
    let mut told = Vec::new();
    let all = async {
        let numbers: Vec<usize> = (0..ROOMS).collect();
        for wave in numbers.chunks(together) {
            let connecting = Arc::new(Semaphore::new(AT_ONCE));
            let everybody = Arc::new(Barrier::new(wave.len()));
            let mut rooms = JoinSet::new();
            for number in wave {
                let (server, everybody) = (Arc::clone(&server), Arc::clone(&everybody));
                rooms.spawn(room(server, *number, Arc::clone(&connecting), everybody));
            }
            while let Some(done) = rooms.join_next().await {
                told.extend(done.unwrap());
            }
        }
    };
    timeout(LONG, all).await.expect("in time");
    assert_eq!(told.len(), KILLED);
    told.sort();
    println!(
        "told after {:?} (median), {:?} (99 of 100), at most {:?}; {together} calls at once",
        told[KILLED / 2],
        told[KILLED * 99 / 100],
        told[KILLED - 1]
    );
    let relayed = 2 * MESSAGES * ROOMS + KILLED * LAST_WORDS;
    // What the survivors said to those who were being killed may have gone nowhere.
    server
        .stats_become(|now| now.rooms == 0 && now.connections == 0 && now.relayed >= relayed as u64)
        .await;
}
