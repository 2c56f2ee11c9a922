//! libfuzzer's entry to `qdt_fuzz::targets_packet::tun_read`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qdt_fuzz::targets_packet::tun_read(data));
