//! The half of the loop that reads what other threads have written to this worker.

use crate::net::sys;
use crate::turn::core::Now;

use super::super::mailbox::{Mail, Packets};
use super::super::sessions;
use super::{MAIL_PER_TURN, Worker};

impl Worker {
    pub(super) fn read_mail(&mut self, now: Now) {
        self.inbox.acknowledge();
        for taken in 0.. {
            if taken == MAIL_PER_TURN {
                // More may wait: ring again rather than keep the sockets waiting.
                sys::notify(self.inbox.bell());
                return;
            }
            match self.inbox.next() {
                None => return,
                Some(Mail::Stream(client)) => self.adopt(now, *client, None),
                Some(Mail::Moved { client, deadline }) => {
                    self.adopt(now, *client, Some(deadline));
                }
                Some(Mail::Packets(packets)) => {
                    self.accept_packets(now, &packets);
                    if let Some(sender) = self.mailboxes.get(usize::from(packets.sender)) {
                        sender.give_back(packets);
                    }
                }
                Some(Mail::Drain) => self.core.drain(),
                // Whoever asked may have given up.
                Some(Mail::List(asked, reply)) => {
                    let sessions = &self.sockets.sessions;
                    let _ = reply.send(sessions.list(&self.core, &asked, now.instant));
                }
                Some(Mail::End(id, reply)) => {
                    let _ = reply.send(sessions::end(&mut self.core, &mut self.sockets, id));
                }
                Some(Mail::HandOver(done)) => {
                    self.hand_over(now);
                    let _ = done.send(());
                }
                Some(Mail::Configure(config, done)) => {
                    self.core.reconfigure(*config);
                    let _ = done.send(());
                }
                Some(Mail::Hail(answer)) => {
                    let _ = answer.send(());
                }
            }
        }
    }

    /// Payloads from another worker's allocations.
    fn accept_packets(&mut self, now: Now, packets: &Packets) {
        let mut rest = packets.bytes.as_slice();
        for entry in &packets.entries {
            let Some((payload, tail)) = rest.split_at_checked(entry.len) else {
                return;
            };
            rest = tail;
            if self.arena.free() == 0 {
                self.flush(now);
            }
            let base = self.arena.next();
            let Some(room) = self
                .arena
                .slot()
                .and_then(|slot| slot.get_mut(..payload.len()))
            else {
                continue;
            };
            room.copy_from_slice(payload);
            self.arena.keep(1);
            let range = 0..payload.len();
            let action = self
                .core
                .handle_internal(now, entry.relayed, entry.source, range);
            self.perform(action, None, base);
        }
    }
}
