//! Durations: the recorded texts of the Go programs, and that what is written reads back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use qdt_program::{GoDuration, from_yaml};
use serde_json::Value;

#[test]
fn every_duration_vector_reads_writes_and_fails_as_in_go() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/vectors/durations.json");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let recorded: Value = serde_json::from_str(&text).expect("JSON");
    for case in recorded["cases"].as_array().expect("a list of cases") {
        let text = case["text"].as_str().expect("a text");
        match text.parse::<GoDuration>() {
            Ok(duration) => {
                assert_eq!(
                    case["nanoseconds"],
                    duration.as_nanos().to_string(),
                    "{text:?}"
                );
                assert_eq!(case["formatted"], duration.to_string(), "{text:?}");
            }
            Err(error) => assert_eq!(case["error"], error.to_string(), "{text:?}"),
        }
    }
}

#[test]
fn a_negative_duration_is_no_time_at_all_for_the_standard_library() {
    assert_eq!(GoDuration::from_secs(-5).to_std(), Duration::ZERO);
    assert_eq!(GoDuration::from_secs(90).to_std(), Duration::from_secs(90));
}

#[test]
fn a_fraction_keeps_its_nanoseconds() {
    let parsed = |text: &str| text.parse::<GoDuration>().map(GoDuration::as_nanos);
    assert_eq!(parsed("0.3333333333333333333h"), Ok(1_200_000_000_000));
    assert_eq!(parsed("9007199254.740993s"), Ok(9_007_199_254_740_993_000));
    assert_eq!(parsed("0.9223372036854775807s"), Ok(922_337_203));
    assert_eq!(parsed("0.000000000000000000001s"), Ok(0));
}

#[test]
fn a_duration_in_a_file_says_which_unit_is_missing() {
    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct File {
        #[allow(dead_code, reason = "only its reading matters")]
        timeout: GoDuration,
    }
    let error = from_yaml::<File>("timeout: \"12\"\n")
        .expect_err("no unit")
        .to_string();
    assert_eq!(
        error,
        "line 1: timeout: time: missing unit in duration \"12\"; write it with units, such as 90s, 2m or 1h30m"
    );
}

proptest! {
    #[test]
    fn what_is_written_reads_back_to_the_same_nanosecond(nanoseconds: i64) {
        let duration = GoDuration::from_nanos(nanoseconds);
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn small_durations_read_back_too(nanoseconds in -10_000_000_000i64..10_000_000_000) {
        let duration = GoDuration::from_nanos(nanoseconds);
        prop_assert_eq!(duration.to_string().parse(), Ok(duration));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[-+]?[0-9.]{0,22}(ns|us|µs|ms|s|m|h|x)?[0-9.hms]{0,9}|.*") {
        let _ = text.parse::<GoDuration>();
    }
}
