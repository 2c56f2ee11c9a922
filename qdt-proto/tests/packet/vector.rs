//! Recorded behaviour of the Go programs.

use std::net::Ipv4Addr;
use std::path::Path;

use qdt_proto::packet::ipv4_addresses;
use serde_json::Value;

#[test]
fn vector_ipv4_addresses_are_read_and_refused_as_the_go_programs_do() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/vectors/ipv4_addresses.json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().expect("`cases` is an array");
    assert!(!cases.is_empty(), "{} has no cases", path.display());
    for case in cases {
        let text = |key: &str| {
            case[key]
                .as_str()
                .unwrap_or_else(|| panic!("{key} is a string in {case}"))
        };
        let packet = bytes(text("packet_hex"));
        let found = ipv4_addresses(&packet);
        assert_eq!(found.is_some(), case["valid"].as_bool().unwrap(), "{case}");
        if let Some(found) = found {
            let expected: (Ipv4Addr, Ipv4Addr) = (
                text("source").parse().unwrap(),
                text("destination").parse().unwrap(),
            );
            assert_eq!((found.source, found.destination), expected, "{case}");
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}
