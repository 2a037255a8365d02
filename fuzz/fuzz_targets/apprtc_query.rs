#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callbox::fuzzing::apprtc::apprtc_query(input));
