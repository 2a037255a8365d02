#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callbox::fuzzing::front::further_frame(input));
