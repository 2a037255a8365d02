#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| callbox::fuzzing::turn_core::run(input));
