//! Checks that the server's books agree with each other. For tests and fuzzers: it looks at
//! everything, and panics.

use super::pool::index;
use super::server::Server;
use crate::turn::stun::address::Family;

impl Server {
    /// Panics when a table names an allocation that is not there, or the reverse.
    #[doc(hidden)]
    pub fn audit(&self) {
        let mut allocations = 0;
        let mut relays = [0, 0];
        let mut connections = 0;
        for (slot, allocation) in self.slots.iter().enumerate() {
            let Some(allocation) = allocation else {
                assert!(self.is_free(slot as u32), "slot {slot} is lost");
                continue;
            };
            assert!(!self.is_free(slot as u32), "slot {slot} is free and taken");
            allocations += 1;
            let link = allocation.origin.link;
            assert_eq!(self.by_link.get(&link), Some(&(slot as u32)));
            assert!(allocation.advertised().is_some(), "it relays nothing");
            for id in allocation.streams.iter().flatten() {
                let all = self.connections.as_ref();
                let connection = all.and_then(|all| all.get(*id));
                let connection = connection.expect("its connections are in the table");
                assert_eq!(connection.allocation, slot as u32);
                connections += 1;
            }
            if allocation.streams.is_some() {
                continue;
            }
            for relay in allocation.relays.iter().flatten() {
                let family = index(Family::of(relay.advertised.ip()));
                let port = relay.advertised.port();
                assert_eq!(self.by_port[family].get(&port), Some(&(slot as u32)));
                relays[family] += 1;
            }
        }
        assert_eq!(self.by_link.len(), allocations);
        let all = self.connections.as_ref().map_or(0, |all| all.len());
        assert_eq!(all, connections, "a connection without allocation");
        assert_eq!(self.by_port.each_ref().map(|ports| ports.len()), relays);
        let stats = self.stats;
        assert_eq!(
            stats.allocations_made - stats.allocations_ended.total(),
            allocations as u64
        );
        assert!(allocations == 0 || self.poll_timeout().is_some());
    }
}
