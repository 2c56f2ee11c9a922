//! libfuzzer's entry to `qdt_fuzz::targets_wire::connect_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qdt_fuzz::targets_wire::connect_request(data));
