//! libfuzzer's entry to `qdt_fuzz::targets_http3::http3_field_section`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| qdt_fuzz::targets_http3::http3_field_section(data));
