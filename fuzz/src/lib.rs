//! Fuzz targets as plain functions, one file per area of `qdt-proto`.
//!
//! A target takes any bytes and panics when a promise is broken; what it returns does not matter.
//! `fuzz_targets/` hands the functions to libfuzzer (`scripts/fuzz`), and the test
//! `corpus_replay` of `qdt-proto` runs the committed corpora through the same functions with a
//! stable compiler. A new target needs: its function, a line in [`TARGETS`], a file in
//! `fuzz_targets/`, a `[[bin]]` in `Cargo.toml` and a corpus in `corpus/<target>/`; the test says
//! what is missing.

pub mod targets_http3;
pub mod targets_packet;
pub mod targets_wire;

/// A fuzz target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target there is.
pub const TARGETS: &[Target] = &[
    ("coalescer", targets_packet::coalescer),
    ("connect_request", targets_wire::connect_request),
    ("connect_response", targets_wire::connect_response),
    ("datagram", targets_wire::datagram),
    ("http3_datagram", targets_http3::http3_datagram),
    ("http3_field_section", targets_http3::http3_field_section),
    ("http3_request", targets_http3::http3_request),
    ("http3_response", targets_http3::http3_response),
    ("http3_uni_stream", targets_http3::http3_uni_stream),
    ("inner_packet", targets_packet::inner_packet),
    ("nonce_text", targets_wire::nonce_text),
    ("reassembly", targets_wire::reassembly),
    ("replay_window", targets_wire::replay_window),
    ("tun_read", targets_packet::tun_read),
];
