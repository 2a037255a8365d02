//! What the service manager is told.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use callbox::net::clock;

use crate::client::Client;
use crate::hand_over;
use crate::harness::{PATIENCE, Process, Site};

/// A service manager that listens.
struct Manager(UnixDatagram);

impl Manager {
    fn of(site: &Site) -> Self {
        let socket = UnixDatagram::bind(site.directory.join("notify")).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        Self(socket)
    }

    /// Waits for a message with this line. Gives all that came on the way.
    fn hears(&self, line: &str) -> String {
        let end = clock::now() + PATIENCE;
        let mut all = String::new();
        let mut buffer = [0; 4096];
        while clock::now() < end {
            let Ok(length) = self.0.recv(&mut buffer) else {
                continue;
            };
            let message = String::from_utf8_lossy(&buffer[..length]);
            all.push_str(&message);
            all.push('\n');
            if message.lines().any(|one| one.starts_with(line)) {
                return all;
            }
        }
        panic!("{line} was not said: {all}");
    }
}

#[test]
fn the_manager_hears_of_readiness_life_and_the_end() {
    let site = Site::new("manager", "drain_timeout = '1h'", "");
    let manager = Manager::of(&site);
    let mut process = Process::start_with(
        &site,
        &[],
        &[("NOTIFY_SOCKET", "notify"), ("WATCHDOG_USEC", "400000")],
    );
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    let (mut client, _) = Client::udp(site.turn_address()).allocated();
    process.signal("-TERM");
    let said = manager.hears("STOPPING=1");
    assert!(said.contains("EXTEND_TIMEOUT_USEC=30000000"), "{said}");
    manager.hears("STATUS=1 relays and 0 rooms");
    // While calls end it is still alive.
    manager.hears("WATCHDOG=1");
    assert_eq!(client.refresh(0).error(), None);
    assert_eq!(process.ended(), Some(0));
}

#[test]
fn a_hand_over_is_no_end_to_the_manager_which_would_wait_for_it_at_a_reboot() {
    let site = hand_over::site_with("manager-handed-over", "drain_timeout = '1h'");
    let sockets = hand_over::sockets(&site);
    let manager = Manager::of(&site);
    let watched = [("NOTIFY_SOCKET", "notify"), ("WATCHDOG_USEC", "400000")];
    let mut old = Process::start_with(&site, &sockets, &watched);
    let (mut client, _) = Client::udp(site.turn_address()).allocated();
    let _new = Process::start(&site, &sockets);
    let said = manager.hears("STATUS=another process serves the newcomers; 1 relays and 0 rooms");
    assert!(!said.contains("STOPPING=1"), "{said}");
    assert!(!manager.hears("WATCHDOG=1").contains("STOPPING=1"));
    old.signal("-TERM");
    manager.hears("STOPPING=1");
    assert_eq!(client.refresh(0).error(), None);
    assert_eq!(old.ended(), Some(0));
}
