//! The bond between a socket and its client.

use tracing::debug;

use super::AppRtc;
use crate::net::clock;
use crate::signal::core::ConnectionId;

/// A socket that belongs to a client. Dropping it tells that the socket is no more.
#[derive(Debug)]
pub(in crate::signal) struct Registration {
    apprtc: AppRtc,
    socket: ConnectionId,
    page_gone: bool,
}

impl Registration {
    pub(super) fn new(apprtc: AppRtc, socket: ConnectionId) -> Self {
        Self {
            apprtc,
            socket,
            page_gone: false,
        }
    }

    /// The client says this to the other one. There is no answer.
    pub(in crate::signal) fn send(&self, body: &str) {
        let now = clock::now();
        let shared = &self.apprtc.shared;
        let sent = shared.with(|rooms| rooms.handle_send(self.socket, body.into(), now));
        if let Err(why) = sent {
            debug!(socket = self.socket.number(), %why, "not delivered");
        }
    }

    /// Whoever was here has said that they are going.
    pub(in crate::signal) fn page_gone(&mut self) {
        self.page_gone = true;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let now = clock::now();
        self.apprtc.shared.act(|desk| {
            desk.ears.remove(&self.socket);
            desk.rooms
                .handle_disconnect(self.socket, self.page_gone, now);
        });
    }
}
