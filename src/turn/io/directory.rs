//! Which worker owns which relayed port. Read for packets to our own addresses, written when an
//! allocation is made or ends.

use std::fmt;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::turn::stun::address::Family;

/// One entry a port and family: 0, or the worker's number plus one.
pub(super) struct Directory {
    ports: [Box<[AtomicU16]>; 2],
}

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
            .and_then(|entry| entry.load(Ordering::Relaxed).checked_sub(1))
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
