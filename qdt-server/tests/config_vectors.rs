//! The recorded server.yaml files that the Go server accepts, with their effect, or refuses.

use std::fs;
use std::path::Path;

use qdt_program::{Token, from_yaml};
use qdt_server::config::{RateFile, ServerFile, first_start_yaml};
use serde_json::Value;

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../conformance/vectors")
        .join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Reads the Go server's effective configuration, which has every key that it knows.
fn effective(yaml: &str) -> ServerFile {
    let (file, warnings) = from_yaml::<ServerFile>(yaml).expect("a rendered configuration reads");
    assert_eq!(warnings, [], "every key of the Go server is known");
    file
}

#[test]
fn every_server_config_vector_is_read_as_the_go_server_reads_it() {
    // Defaults that depend on the number of CPUs are recorded as -1.
    const CPUS: usize = 1_000_003;
    let cases = vectors("server_config.json");
    for case in cases["cases"].as_array().expect("a list of cases") {
        let yaml = case["yaml"].as_str().expect("a text");
        let result = from_yaml::<ServerFile>(yaml);
        if case["accepted"] == false {
            assert!(
                result.is_err(),
                "{yaml:?} must be refused: {}",
                case["error"]
            );
            continue;
        }
        let (file, _) = result.unwrap_or_else(|error| panic!("{yaml:?} must be accepted: {error}"));
        assert_eq!(
            !file.token.is_empty(),
            case["token_given"] == true,
            "{yaml:?}: token given"
        );
        let mut ours = file.with_defaults(CPUS);
        if ours.send_workers == CPUS as i64 {
            ours.send_workers = -1;
        }
        if ours.session_shards == 4 * CPUS as i64 {
            ours.session_shards = -1;
        }
        let theirs = effective(case["effective_yaml"].as_str().expect("a text"));
        assert_eq!(ours, theirs, "{yaml:?}");
    }
}

#[test]
fn the_first_start_vector_is_reproduced_except_for_its_rate_limit() {
    let recorded = vectors("bootstrap.json");
    let recorded = recorded["cases"]["server_yaml"].as_str().expect("a text");
    let written = first_start_yaml(Path::new("DIR"), &Token::new("TOKEN"), 2);
    // The Go server limits sessions of a new server to about 100 Mbit/s; ours does not.
    let limit = "rate_limit:\n    pps: 10000\n";
    assert!(recorded.contains(limit), "{recorded}");
    assert_eq!(
        written,
        recorded.replace(limit, "rate_limit:\n    pps: -1\n")
    );
}

#[test]
fn a_first_start_reads_back_as_the_defaults_with_its_token_and_paths_and_no_rate_limit() {
    let directory = Path::new("/etc/my qdt: #1");
    let token = Token::new("0123");
    let (file, warnings) = from_yaml::<ServerFile>(&first_start_yaml(directory, &token, 3))
        .expect("our own file reads");
    assert_eq!(warnings, []);
    let defaults = ServerFile::default().with_defaults(3);
    let expected = ServerFile {
        token,
        tls_cert: "/etc/my qdt: #1/cert.pem".to_owned(),
        tls_key: "/etc/my qdt: #1/key.pem".to_owned(),
        rate_limit: RateFile {
            pps: -1,
            ..defaults.rate_limit
        },
        ..defaults
    };
    assert_eq!(file, expected);
}
