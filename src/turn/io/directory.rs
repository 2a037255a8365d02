//! Which worker owns which relayed port. Read for packets to our own addresses, written when an
//! allocation is made or ends.

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::turn::stun::address::Family;

/// One entry a port and family: 0, or the worker's number plus one, and whether it listens for
/// connections instead of datagrams.
pub(super) struct Directory {
    ports: [Box<[AtomicU16]>; 2],
}

/// Beside a worker's number, of which there are at most 1,024.
const LISTENING: u16 = 1 << 15;

impl Default for Directory {
    fn default() -> Self {
        // Zeroed memory: pages that no port falls into are never touched.
        let table = || (0..=u16::MAX).map(|_| AtomicU16::new(0)).collect();
        Self {
            ports: [table(), table()],
        }
    }
}

impl Directory {
    pub(super) fn owner(&self, family: Family, port: u16) -> Option<u16> {
        self.entry(family, port)
            .map(|entry| entry.load(Ordering::Relaxed))
            .filter(|entry| entry & LISTENING == 0)
            .and_then(|entry| entry.checked_sub(1))
    }

    /// Whether a relay takes connections at this port.
    pub(super) fn is_listening(&self, family: Family, port: u16) -> bool {
        self.entry(family, port)
            .is_some_and(|entry| entry.load(Ordering::Relaxed) & LISTENING != 0)
    }

    pub(super) fn set_listening(&self, family: Family, port: u16, worker: u16) {
        if let Some(entry) = self.entry(family, port) {
            entry.store((worker + 1) | LISTENING, Ordering::Relaxed);
        }
    }

    pub(super) fn set(&self, family: Family, port: u16, worker: Option<u16>) {
        if let Some(entry) = self.entry(family, port) {
            entry.store(worker.map_or(0, |worker| worker + 1), Ordering::Relaxed);
        }
    }

    fn entry(&self, family: Family, port: u16) -> Option<&AtomicU16> {
        let [v4, v6] = &self.ports;
        let table = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        table.get(usize::from(port))
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Directory")
    }
}
