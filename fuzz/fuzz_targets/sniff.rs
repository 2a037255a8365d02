//! The first bytes of a connection: never a panic, and a verdict stays what it was.
#![no_main]

use callbox::front::route::{self, Role};
use callbox::front::sniff::{MAX_BYTES, Sniff, sniff};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = sniff(bytes);
    for end in 0..bytes.len().min(MAX_BYTES) {
        let early = sniff(&bytes[..end]);
        assert!(early == Sniff::Incomplete || early == whole);
    }
    assert!(bytes.len() < MAX_BYTES || whole != Sniff::Incomplete);
    for role in [Role::Https, Role::Http, Role::Turn] {
        let _ = route::outer(role, whole);
        // The rest of the input as the name of a protocol.
        let _ = route::inner(role, bytes.get(1..), whole);
    }
});
