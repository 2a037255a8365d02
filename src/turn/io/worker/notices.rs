//! The half of the loop that counts, for the log, what clients do again and again.

use std::net::IpAddr;

use crate::telemetry::repeats::Repeated;
use crate::turn::core::{Notice, Now};

use super::Worker;

impl Worker {
    /// Counts what the core has noticed of the client whose packet it has just judged.
    pub(super) fn count_notice(&mut self, now: Now, client: IpAddr) {
        if let Some(notice) = self.core.poll_notice() {
            self.repeats.count(repeated(notice), client, now.instant);
        }
    }
}

/// How the log calls what the core noticed.
fn repeated(notice: Notice) -> Repeated {
    match notice {
        Notice::Challenged => Repeated::Challenged,
        Notice::WrongCredentials => Repeated::WrongCredentials,
        Notice::StaleNonce => Repeated::StaleNonce,
        Notice::Unanswered => Repeated::Unanswered,
        Notice::Malformed => Repeated::MalformedPacket,
        Notice::RefusedPeer => Repeated::RefusedPeer,
        Notice::UserQuota => Repeated::UserQuota,
        Notice::NoCapacity => Repeated::NoCapacity,
    }
}
