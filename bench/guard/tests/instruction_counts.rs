//! The guard from outside: that it passes what was recorded, that it fails what has become dearer,
//! and what it says then. It counts this build of itself, for which it writes a record of its own.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

const CASE: &str = "encode header";

#[test]
fn what_costs_as_recorded_passes() {
    let (output, text) = check(|_| {});
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("Everything costs what was recorded"),
        "{text}"
    );
}

#[test]
fn the_same_work_counts_the_same_again() {
    let (_, text) = check(|_| {});
    let row = text.lines().find(|line| line.starts_with(CASE)).unwrap();
    assert!(row.contains("+0.0 %") || row.contains("-0.0 %"), "{row}");
}

#[test]
fn what_has_become_dearer_fails_and_is_named_with_both_counts_and_how_to_record() {
    for field in ["own", "libc_calls", "aead_calls"] {
        // The last case has all three.
        let name = last_case();
        let mut new = 0.0;
        let (output, text) = check_case(&name, |record| {
            let value = field_of(record, &name, field);
            new = value.as_f64().unwrap();
            *value = (new / 1.25).into();
        });
        assert_eq!(output.status.code(), Some(1), "{field}: {text}");
        let failed = text
            .lines()
            .find(|line| line.starts_with("FAILED"))
            .unwrap();
        assert!(failed.contains(&name), "{failed}");
        assert!(failed.contains(&format!(" -> {new} ")), "{failed}");
        assert!(failed.contains("(+25.0 %)"), "{failed}");
        assert!(text.contains("target/lab/guard record"), "{text}");
    }
}

#[test]
fn what_is_dearer_by_less_than_a_tenth_passes() {
    let (output, text) = check(|record| scale(record, 1.0 / 1.08));
    assert_eq!(output.status.code(), Some(0), "{text}");
}

#[test]
fn what_has_become_cheaper_passes_and_asks_to_be_recorded() {
    let (output, text) = check(|record| scale(record, 1.25));
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(&format!("CHEAPER {CASE}")), "{text}");
    assert!(text.contains("target/lab/guard record"), "{text}");
}

#[test]
fn a_case_that_was_never_recorded_fails() {
    let (output, text) = check(|record| {
        let cases = record["cases"].as_array_mut().unwrap();
        cases.retain(|case| case[0] != CASE);
    });
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&format!("{CASE}: was never recorded")),
        "{text}"
    );
}

#[test]
fn counts_of_another_kind_of_build_are_not_compared() {
    for (field, words) in [
        ("profile", "cargo profile"),
        ("architecture", "architecture"),
    ] {
        let (output, text) = check(|record| record["build"][field] = "another".into());
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn another_compiler_is_compared_and_told() {
    let (output, text) = check(|record| record["build"]["rustc"] = "1.0.0".into());
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("recorded with rustc 1.0.0"), "{text}");
}

#[test]
fn without_valgrind_nothing_passes() {
    let folder = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_guard"))
        .env("PATH", folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("install the package valgrind"), "{text}");
}

#[test]
fn a_record_that_is_missing_is_no_pass() {
    let output = Command::new(env!("CARGO_BIN_EXE_guard"))
        .args(["--recorded", "/nonexistent/counts.json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/nonexistent/counts.json"), "{text}");
}

/// Checks [`CASE`] against what was recorded, as `change` has changed it.
fn check(change: impl FnOnce(&mut Value)) -> (Output, String) {
    check_case(CASE, change)
}

fn check_case(name: &str, change: impl FnOnce(&mut Value)) -> (Output, String) {
    let mut record = recorded().clone();
    change(&mut record);
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("counts.json");
    std::fs::write(&file, record.to_string()).expect("the record is written");
    let output = Command::new(env!("CARGO_BIN_EXE_guard"))
        .args(["check", "--only", name, "--recorded"])
        .arg(&file)
        .output()
        .expect("the guard starts");
    let text = [&output.stdout[..], &output.stderr].concat();
    (output, String::from_utf8_lossy(&text).into_owned())
}

/// What this build counts, recorded once.
fn recorded() -> &'static Value {
    static RECORDED: OnceLock<Value> = OnceLock::new();
    RECORDED.get_or_init(|| {
        let folder = TempDir::new().expect("a folder");
        let file: PathBuf = folder.path().join("counts.json");
        let output = Command::new(env!("CARGO_BIN_EXE_guard"))
            .args(["record", "--recorded"])
            .arg(&file)
            .output()
            .expect("the guard starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice(&std::fs::read(&file).expect("the record")).expect("JSON")
    })
}

fn last_case() -> String {
    let cases = recorded()["cases"].as_array().expect("a list");
    cases.last().expect("cases")[0]
        .as_str()
        .expect("a name")
        .to_owned()
}

fn scale(record: &mut Value, factor: f64) {
    let own = field_of(record, CASE, "own");
    *own = (own.as_f64().expect("a number") * factor).into();
}

fn field_of<'r>(record: &'r mut Value, name: &str, field: &str) -> &'r mut Value {
    let cases = record["cases"].as_array_mut().expect("a list");
    let case = cases
        .iter_mut()
        .find(|case| case[0] == name)
        .expect("the case");
    &mut case[1][field]
}
