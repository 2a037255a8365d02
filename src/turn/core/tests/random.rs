//! Random sequences of everything, against the model in `fuzzing::turn_core`.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::fuzzing::{stream_frame, stun_decode, turn_core};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_flows_unpermitted_and_nothing_is_lost(
        input in vec(any::<u8>(), 0..1200),
    ) {
        turn_core::run(&input);
    }

    /// The same, after a beginning that gets every client an allocation: most random inputs would
    /// fail to.
    #[test]
    fn whatever_happens_between_allocations_is_permitted(input in vec(any::<u8>(), 0..1200)) {
        let mut script = Vec::new();
        for who in [0x00, 0x10, 0x20] {
            script.extend([who, who | 1, 1, 2]);
        }
        script.extend(input);
        turn_core::run(&script);
    }

    /// The same, where one client relays connections: random input rarely asks for that.
    #[test]
    fn whatever_happens_between_connections_is_permitted(input in vec(any::<u8>(), 0..1200)) {
        let mut script = vec![0x10, 0x11, 16, 2, 0x00, 0x01, 1, 2];
        for part in input.chunks(40) {
            // Permit, connect, be connected to, bind, with what the input says.
            script.extend([0x13, part[0], 0, 0]);
            for what in [4, 5, 6] {
                script.extend([0x0F, what]);
                script.extend(&part[..part.len().min(6)]);
            }
            script.extend(part);
        }
        turn_core::run(&script);
    }

    #[test]
    fn no_bytes_upset_the_codec(input in vec(any::<u8>(), 0..300)) {
        stun_decode(&input);
        stream_frame(&input);
    }
}
