//! Signaling's counters as metric families.

use super::core::Refusal;
use super::guests::Count;
use super::hub::Hub;
use super::outcome::Outcome;
use crate::telemetry::metrics::{Page, Source};

impl Source for Hub {
    fn collect(&self, page: &mut Page<'_>) {
        let stats = self.stats().snapshot();
        page.gauge(
            "signaling_connections",
            "WebSockets open now.",
            stats.connections as f64,
        );
        page.gauge(
            "signaling_rooms",
            "Rooms with members now.",
            stats.rooms as f64,
        );
        page.gauge(
            "signaling_members",
            "Seats taken now.",
            stats.members as f64,
        );
        page.gauge(
            "signaling_away",
            "Seats kept for members who lost their connection.",
            stats.away as f64,
        );
        page.counters(
            "signaling_resumes",
            "Seats taken again after a lost connection, with or without loss of messages.",
            [
                (
                    &[("lost", "no")][..],
                    stats.resumed.saturating_sub(stats.resumed_with_loss),
                ),
                (&[("lost", "yes")], stats.resumed_with_loss),
            ],
        );
        page.counter("signaling_joins", "Seats given.", stats.joined);
        let refused: Vec<_> = Refusal::ALL
            .iter()
            .zip(stats.refused)
            .map(|(why, count)| ([("reason", why.name())], count))
            .chain([([("reason", "not_admitted")], stats.denied)])
            .collect();
        page.counters(
            "signaling_refused_joins",
            "Joins refused, by why.",
            refused.iter().map(|(labels, count)| (&labels[..], *count)),
        );
        page.counter(
            "signaling_messages",
            "Messages passed from one member to others.",
            stats.relayed,
        );
        page.counters(
            "signaling_dropped_messages",
            "Messages that reached nobody: no receiver, or not a message.",
            [
                (&[("reason", "undeliverable")][..], stats.undeliverable),
                (&[("reason", "malformed")], stats.malformed),
            ],
        );
        page.counters(
            "signaling_cut_connections",
            "WebSockets ended by us: did not read, sent too much, fell silent.",
            [
                (&[("reason", "too_slow")][..], stats.too_slow),
                (&[("reason", "too_fast")], stats.too_fast),
                (&[("reason", "silent")], stats.silent),
            ],
        );
        let outcomes: Vec<_> = Outcome::ALL
            .iter()
            .zip(stats.outcomes)
            .map(|((path, transport), count)| ([("path", *path), ("transport", *transport)], count))
            .collect();
        page.counters(
            "signaling_call_paths",
            "Ways that calls found or did not find, one report a side, as our pages tell.",
            outcomes.iter().map(|(labels, count)| (&labels[..], *count)),
        );
        let counts = self.guests().counts();
        let labelled = |of: fn(&Count) -> usize| {
            counts.map(|count| ([("dialect", count.world.dialect())], of(&count) as f64))
        };
        for (name, help, samples) in [
            (
                "signaling_guests",
                "Clients of the further dialects.",
                labelled(|count| count.clients),
            ),
            (
                "signaling_guest_rooms",
                "Calls of PeerJS's and flutter's clients, and y-webrtc's topics.",
                labelled(|count| count.rooms),
            ),
        ] {
            let samples = samples.iter().map(|(labels, value)| (&labels[..], *value));
            page.gauges(name, help, samples);
        }
        self.apprtc().collect(page);
    }
}
