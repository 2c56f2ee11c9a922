//! The recorded client.yaml files of the Go client: what it accepts, what it makes of them, what it
//! refuses.
//!
//! The recordings are read when the test runs, and no number of them is assumed.

use std::fs;
use std::path::Path;

use qdt_client::config::ClientFile;
use qdt_program::from_yaml;
use serde_json::Value;

/// What the Go client makes of `yaml`, before it looks at single values.
fn read(yaml: &str) -> Result<ClientFile, String> {
    let (file, _) = from_yaml::<ClientFile>(yaml).map_err(|error| error.to_string())?;
    file.with_defaults().map_err(|problem| problem.to_string())
}

#[test]
fn every_client_config_vector_is_read_as_the_go_client_reads_it() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/vectors/client_config.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let recorded: Value = serde_json::from_str(&text).expect("JSON");
    for case in recorded["cases"].as_array().expect("a list of cases") {
        let yaml = case["yaml"].as_str().expect("a text");
        let result = read(yaml);
        if case["accepted"] == false {
            let error = result.expect_err(&format!("{yaml:?} must be refused: {}", case["error"]));
            let theirs = case["error"].as_str().expect("a text");
            if theirs.ends_with("is required") {
                assert!(
                    error.contains(theirs),
                    "{yaml:?}: {error} must say: {theirs}"
                );
            }
            continue;
        }
        let ours = result.unwrap_or_else(|error| panic!("{yaml:?} must be accepted: {error}"));
        let effective = case["effective_yaml"].as_str().expect("a text");
        let (theirs, warnings) = from_yaml::<ClientFile>(effective).expect("a rendered file reads");
        assert_eq!(warnings, [], "every key of the Go client is known");
        assert_eq!(ours, theirs, "{yaml:?}");
    }
}
