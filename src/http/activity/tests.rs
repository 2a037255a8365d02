use super::*;
use crate::net::clock;

const LIMITS: Limits = Limits {
    header: Duration::from_secs(10),
    idle: Duration::from_secs(75),
};

struct Timeline {
    start: Instant,
    activity: Activity,
}

impl Timeline {
    fn of(protocol: Protocol) -> Self {
        let start = clock::now();
        Self {
            start,
            activity: Activity::new(protocol, start),
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    /// Seconds until the deadline, and what is late then.
    fn deadline(&self) -> (u64, Late) {
        let (deadline, late) = self.activity.deadline(&LIMITS);
        let left = deadline.saturating_duration_since(self.start);
        (left.as_secs(), late)
    }
}

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// A frame of HTTP/2 with an empty payload of this length.
fn frame(kind: u8, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut bytes = vec![0, high, low, kind, 0, 0, 0, 0, 1];
    bytes.resize(9 + usize::from(length), 0);
    bytes
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

#[test]
fn the_first_request_is_due_within_the_header_timeout_however_slowly_it_comes() {
    for protocol in BOTH {
        let mut line = Timeline::of(protocol);
        line.activity.read(line.at(3), b"P");
        line.activity.read(line.at(9), b"R");
        line.activity.wrote(line.at(9), 100);
        assert_eq!(line.deadline(), (10, Late::Stalled));
    }
}

#[test]
fn between_requests_there_is_more_time_until_a_header_begins() {
    let mut line = Timeline::of(Protocol::Http1);
    line.activity.read(line.at(1), b"GET");
    line.activity.request_began(line.at(1), Turn::Server);
    line.activity.request_ended(line.at(2), Turn::Server);
    assert_eq!(line.deadline(), (77, Late::Idle));
    line.activity.read(line.at(50), b"G");
    line.activity.read(line.at(59), b"E");
    assert_eq!(line.deadline(), (60, Late::Stalled));
    line.activity.request_began(line.at(59), Turn::Server);
    line.activity.request_ended(line.at(60), Turn::Server);
    assert_eq!(line.deadline(), (135, Late::Idle));
}

#[test]
fn the_time_that_an_answer_takes_is_not_the_clients() {
    for protocol in BOTH {
        let mut line = Timeline::of(protocol);
        line.activity.request_began(line.at(1), Turn::Server);
        assert!(line.deadline().0 > 3600);
        line.activity.turned(line.at(300), Turn::Client);
        assert_eq!(line.deadline(), (375, Late::Stalled));
        line.activity.took(line.at(310));
        assert_eq!(line.deadline(), (385, Late::Stalled));
        line.activity.turned(line.at(311), Turn::Server);
        assert!(line.deadline().0 > 3600);
    }
}

#[test]
fn an_answer_that_does_not_fit_into_the_socket_has_to_get_somewhere() {
    for protocol in BOTH {
        let mut line = Timeline::of(protocol);
        line.activity.request_began(line.at(1), Turn::Server);
        line.activity.blocked(line.at(100));
        assert_eq!(line.deadline(), (175, Late::Stalled));
        line.activity.wrote(line.at(150), 1000);
        line.activity.blocked(line.at(150));
        assert_eq!(line.deadline(), (175, Late::Stalled), "not enough");
        line.activity.wrote(line.at(160), PROGRESS - 1000);
        assert_eq!(line.deadline(), (235, Late::Stalled));
        line.activity.flushed();
        assert!(line.deadline().0 > 3600);
    }
}

#[test]
fn a_body_that_drips_is_late_and_one_that_flows_is_not() {
    for protocol in BOTH {
        let mut line = Timeline::of(protocol);
        if protocol == Protocol::Http2 {
            line.activity.read(line.at(0), PREFACE);
        }
        line.activity.request_began(line.at(1), Turn::Client);
        for second in 2..70 {
            line.activity.read(line.at(second), &frame(DATA, 10));
        }
        assert_eq!(line.deadline(), (76, Late::Stalled));
        line.activity.read(line.at(70), &frame(DATA, 16384));
        assert_eq!(line.deadline(), (145, Late::Stalled));
        line.activity.request_ended(line.at(71), Turn::Client);
        assert_eq!(line.deadline(), (146, Late::Idle));
    }
}

#[test]
fn frames_that_carry_nothing_do_not_move_a_deadline() {
    let mut line = Timeline::of(Protocol::Http2);
    line.activity.read(line.at(0), PREFACE);
    line.activity.request_began(line.at(1), Turn::Client);
    for second in 2..70 {
        line.activity.read(line.at(second), &frame(PING, 8));
        line.activity
            .read(line.at(second), &frame(WINDOW_UPDATE, 4));
        line.activity.wrote(line.at(second), 17);
    }
    assert_eq!(line.deadline(), (76, Late::Stalled));
}

#[test]
fn a_slow_reader_of_what_is_buffered_has_time_as_long_as_it_reads() {
    let mut line = Timeline::of(Protocol::Http2);
    line.activity.request_began(line.at(1), Turn::Server);
    line.activity.request_ended(line.at(2), Turn::Server);
    assert_eq!(line.deadline(), (77, Late::Idle));
    line.activity.wrote(line.at(40), PROGRESS);
    assert_eq!(line.deadline(), (115, Late::Idle));
}

#[test]
fn the_drain_waits_for_answers_and_for_nothing_else() {
    let mut line = Timeline::of(Protocol::Http2);
    line.activity.drain_began(line.at(2));
    assert_eq!(line.deadline(), (3, Late::Stalled));
    line.activity.request_began(line.at(2), Turn::Client);
    assert_eq!(line.deadline(), (77, Late::Stalled));
    line.activity.request_ended(line.at(9), Turn::Client);
    assert_eq!(line.deadline(), (10, Late::Stalled));
}

#[test]
fn pings_do_not_keep_an_unused_http2_connection() {
    let mut line = Timeline::of(Protocol::Http2);
    line.activity.read(line.at(0), PREFACE);
    line.activity.request_began(line.at(1), Turn::Server);
    line.activity.request_began(line.at(1), Turn::Server);
    line.activity.request_ended(line.at(2), Turn::Server);
    line.activity.request_ended(line.at(3), Turn::Server);
    line.activity.read(line.at(40), &frame(PING, 8));
    line.activity.wrote(line.at(40), 17);
    assert_eq!(line.deadline(), (78, Late::Idle));
}

fn flood(piece: &[u8], times: usize) -> Late {
    let mut line = Timeline::of(Protocol::Http2);
    line.activity.read(line.at(0), PREFACE);
    for _ in 0..times {
        line.activity.read(line.at(0), piece);
    }
    line.deadline().1
}

#[test]
fn a_flood_of_frames_that_are_no_requests_is_seen() {
    for kind in [2, 4, PING, 7, WINDOW_UPDATE, 0x55] {
        assert_eq!(flood(&frame(kind, 4), 1000), Late::Stalled, "{kind}");
        assert_eq!(flood(&frame(kind, 4), 1001), Late::Flooding, "{kind}");
    }
    assert_eq!(flood(&frame(DATA, 0), 1001), Late::Flooding);
    assert_eq!(flood(&frame(DATA, 1), 100_000), Late::Stalled);
    assert_eq!(flood(&frame(HEADERS, 1), 100_000), Late::Stalled);
    let reset = [frame(HEADERS, 1), frame(RST_STREAM, 4)].concat();
    assert_eq!(flood(&reset, 100), Late::Stalled);
    assert_eq!(flood(&reset, 130), Late::Flooding);
}

#[test]
fn who_downloads_may_open_the_window_for_each_frame() {
    let mut line = Timeline::of(Protocol::Http2);
    line.activity.read(line.at(0), PREFACE);
    for _ in 0..10_000 {
        line.activity.wrote(line.at(0), 16 * 1024);
        line.activity.read(line.at(0), &frame(WINDOW_UPDATE, 4));
        line.activity.read(line.at(0), &frame(WINDOW_UPDATE, 4));
    }
    assert_ne!(line.deadline().1, Late::Flooding);
}

#[test]
fn a_chatty_client_may_go_on_slowly() {
    let mut line = Timeline::of(Protocol::Http2);
    line.activity.read(line.at(0), PREFACE);
    for second in 0..3600 {
        for _ in 0..90 {
            line.activity.read(line.at(second), &frame(PING, 8));
        }
    }
    assert_ne!(line.deadline().1, Late::Flooding);
}
