//! The half of the loop that hears of datagrams which did not arrive.

use std::os::fd::AsFd;

use crate::net::sys::{self, BATCH};
use crate::turn::core::{IcmpError, Now, RelayId};

use super::{BATCHES_PER_TURN, Worker};

impl Worker {
    /// What ICMP had to say of datagrams that a relay socket sent. Asked for only when the kernel
    /// says that there is something.
    pub(super) fn read_errors(&mut self, now: Now, relay: RelayId) {
        for _ in 0..BATCHES_PER_TURN {
            let Some(socket) = self.sockets.relay(relay) else {
                return;
            };
            let socket = socket.socket.as_fd();
            let mut errors = Vec::new();
            let got = sys::receive_errors(socket, &mut self.receive, |error| {
                errors.push(IcmpError {
                    peer: error.to,
                    kind: error.kind,
                    code: error.code,
                    mtu: error.mtu,
                });
            });
            for error in errors {
                let answer = self.answer.as_mut_slice();
                let action = self.core.handle_icmp(now, relay, &error, answer);
                self.perform(action, None, 0);
            }
            // Fewer than a batch: the queue is empty.
            if !matches!(got, Ok(BATCH)) {
                return;
            }
        }
    }
}
