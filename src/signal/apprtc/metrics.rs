//! AppRTC's counters as metric families.

use super::AppRtc;
use crate::telemetry::metrics::{Page, Source};

impl Source for AppRtc {
    fn collect(&self, page: &mut Page<'_>) {
        let desk = self.shared.desk();
        let (rooms, clients, held) = (desk.rooms.rooms(), desk.rooms.clients(), desk.rooms.held());
        let counters = desk.rooms.counters();
        drop(desk);
        page.gauge(
            "apprtc_rooms",
            "AppRTC rooms with clients now.",
            rooms as f64,
        );
        page.gauge(
            "apprtc_clients",
            "AppRTC clients in rooms now, those that are about to leave among them.",
            clients as f64,
        );
        page.gauge(
            "apprtc_stored_bytes",
            "Bytes of AppRTC messages that wait for their receiver.",
            held as f64,
        );
        page.counter(
            "apprtc_joins",
            "AppRTC clients that joined.",
            counters.joined,
        );
        page.counter(
            "apprtc_refused_joins",
            "AppRTC clients that could not join: room full, too many rooms.",
            counters.refused,
        );
        page.counter(
            "apprtc_messages",
            "AppRTC messages passed on or kept.",
            counters.messages,
        );
        page.counter(
            "apprtc_lost_messages",
            "AppRTC messages of strangers, or more than could be kept.",
            counters.lost,
        );
        page.counter(
            "apprtc_goodbyes",
            "Times that a client was told of the end of another that could not say it.",
            counters.goodbyes,
        );
    }
}
