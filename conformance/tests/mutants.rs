//! The parity probe finds faults: a server with one fault on purpose is caught by the check that is
//! about it, and the same build without a fault passes.
//!
//! The server is built by `scripts/lib/build-mutants` from a copy of the tree, with the faults of
//! `mutants/*.patch`.

use std::path::Path;
use std::process::Stdio;

use conformance::{Config, Lab, Server, Token};

/// Probes a server that has this fault; gives the exit code and what the probe said.
fn probe(mutant: Option<&str>) -> (Option<i32>, String) {
    let lab = Lab::new(1);
    let config = Config::server()
        .set("handshake_rate", "{pps: -1}")
        .set("handshake_ip_rate", "{pps: -1}");
    let _server = Server::start_mutant(&lab.server, config, mutant);
    let token = lab.clients[0].folder().join("token");
    std::fs::write(&token, Token::TEXT).expect("the machine's folder is writable");
    let output = lab.clients[0]
        .command(env!("CARGO_BIN_EXE_conformance"))
        .args(["probe", "--server=192.0.2.2:443", "--rate=0"])
        .arg("--metrics=http://192.0.2.2:9100/metrics")
        .arg("--token-file")
        .arg(token)
        .stdin(Stdio::null())
        .output()
        .expect("the probe can be started");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output.status.code(), said)
}

/// The probe has to find the fault in this check, whatever else it finds.
#[track_caller]
fn assert_caught(mutant: &str, group: &str, check: &str) {
    let (code, said) = probe(Some(mutant));
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&format!("DIFFERENT: {group}: {check}\n")),
        "{said}"
    );
}

#[test]
fn the_same_build_without_a_fault_does_everything_as_documented() {
    let (code, said) = probe(None);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_wrong_status_is_caught() {
    assert_caught("wrong_status", "recorded nonces", "nonce 2 is not a nonce");
}

#[test]
fn a_wrong_label_is_caught() {
    assert_caught(
        "wrong_label",
        "recorded nonces",
        "nonce 10 has another length",
    );
}

#[test]
fn a_check_that_comes_late_is_caught() {
    assert_caught(
        "late_check_order",
        "order of checks",
        "the method comes before the token",
    );
}

#[test]
fn the_end_of_the_stream_of_a_session_is_caught() {
    assert_caught(
        "fin_on_200",
        "a living session",
        "the stream of a session stays open",
    );
}

#[test]
fn a_quarter_stream_id_of_0_is_caught() {
    assert_caught(
        "quarter_stream_id_0",
        "a living session",
        "datagrams carry the quarter stream id of the session's stream",
    );
}

#[test]
fn a_missing_nosniff_is_caught() {
    assert_caught(
        "missing_nosniff",
        "methods",
        "GET is not a method of /connect",
    );
}

#[test]
fn an_mtu_above_the_clamp_is_caught() {
    assert_caught(
        "unclamped_mtu",
        "the server",
        "a good request opens a session",
    );
}

#[test]
fn every_fault_has_a_test_that_catches_it() {
    let tests = include_str!("mutants.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mutants");
    for entry in std::fs::read_dir(folder).expect("the patches are there") {
        let path = entry.expect("the folder is readable").path();
        let name = path.file_stem().expect("a patch has a name").display();
        assert!(tests.contains(&format!("\"{name}\"")), "{name} has none");
        let patch = std::fs::read_to_string(&path).expect("the patch is readable");
        assert!(
            patch.contains(&format!("Ok(\"{name}\")")),
            "{name} waits for another name"
        );
    }
}

#[test]
fn the_programs_of_the_lab_know_no_mutant() {
    for program in [
        conformance::Binaries::server(),
        conformance::Binaries::client(),
    ] {
        let bytes = std::fs::read(&program).expect("the program is there");
        for trace in ["QDT_MUTANT", "late_check_order"] {
            let found = bytes
                .windows(trace.len())
                .any(|window| window == trace.as_bytes());
            assert!(!found, "{} holds {trace}", program.display());
        }
    }
}
