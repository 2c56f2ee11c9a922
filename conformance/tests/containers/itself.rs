//! The suite's own promises: a cell that fails says so and keeps its logs, and
//! a run that was killed leaves nothing behind for the next.

use std::collections::HashMap;
use std::fs;
use std::panic;
use std::process::Command;
use std::time::Duration;

use conformance::Config;
use testcontainers::bollard::models::NetworkCreateRequest;

use crate::SECOND;
use crate::cell::Cell;
use crate::command::source;
use crate::engine::{Engine, LABEL};
use crate::outcome::{self, Outcome, Outcomes};
use crate::programs::{Client, Kind, Server};
use crate::report::{self, Entry, Totals};
use crate::stage::Stage;

/// The topic in the report.
const GROUP: &str = "the suite itself";

/// The cells about the suite itself.
pub(crate) fn cells() -> Vec<Cell> {
    vec![
        Cell::named(
            GROUP,
            "a cell with a wrong expectation fails and its logs are kept and named",
            a_wrong_expectation_fails_and_names_its_logs,
        ),
        Cell::named(
            GROUP,
            "what a killed run left is removed and what runs stays",
            what_a_killed_run_left_is_removed,
        ),
        Cell::named(
            GROUP,
            "a combination without a meaning is neither passed nor failed",
            a_combination_without_a_meaning_is_not_counted,
        ),
        Cell::named(
            GROUP,
            "an engine that does not answer is left alone and no other one is started",
            an_engine_that_does_not_answer_is_left_alone,
        ),
        Cell::named(
            GROUP,
            "without an engine the suite fails with one line that names scripts/containers",
            without_an_engine_the_suite_says_what_to_run,
        ),
    ]
}

/// The suite once more, with an engine that is not there.
fn without_an_engine_the_suite_says_what_to_run(_: &Stage) {
    let output = Command::new(std::env::current_exe().expect("this program has a file"))
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("this program can be started");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("run scripts/containers"), "{said}");
    assert!(said.contains("test result: FAILED"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// What the scripts do before they start an engine; in this cell they could not, because root is
/// taken from them.
fn an_engine_that_does_not_answer_is_left_alone(stage: &Stage) {
    let pid_file = stage.folder().join("docker.pid");
    fs::write(&pid_file, std::process::id().to_string()).expect("the cell's folder is writable");
    for (situation, step, reason) in [
        (
            "export DOCKER_HOST=unix:///nowhere/docker.sock",
            "start_engine",
            "DOCKER_HOST",
        ),
        (
            "unset DOCKER_HOST DOCKER_CONTEXT; docker() { return 1; }",
            "start_engine",
            "see docker info",
        ),
        (
            "unset DOCKER_HOST DOCKER_CONTEXT; docker() { return 1; }",
            "install_engine",
            "see docker info",
        ),
    ] {
        let script = format!(
            "cd scripts/lib; source ./common.sh; source ./install.sh; source ./containers.sh
            engine_pid_file=$0
            as_root() {{ echo \"as root: $*\"; exit 9; }}
            trap stop_engine EXIT
            {situation}
            {step}"
        );
        let output = Command::new("bash")
            .current_dir(source())
            .args(["-c", &script])
            .arg(&pid_file)
            .output()
            .expect("bash is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{situation}: {output:?}");
        assert!(said.contains(reason), "{situation}: {said}");
        assert!(output.stdout.is_empty(), "{situation}: {output:?}");
    }
}

/// The failing path from one end to the other: a real cell whose expectation
/// is wrong.
fn a_wrong_expectation_fails_and_names_its_logs(stage: &Stage) {
    let name = format!("{}::failing", stage.name());
    let outcome = outcome::run(stage.with_other_logs(&name), Box::new(fails));
    let Outcome::Failed {
        message,
        logs: Some(logs),
        ..
    } = &outcome
    else {
        panic!("a cell that panics has not failed: {outcome:?}");
    };
    assert!(
        message.contains("a client with a wrong token connects"),
        "{message}"
    );
    for (container, line) in [("server", "server started"), ("client", "401 Unauthorized")] {
        let path = logs.join(format!("{container}.log"));
        let log =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(log.contains(line), "{log}");
    }

    let entry = entry(&name, None);
    let outcomes = Outcomes::default();
    outcomes.note(&name, outcome.clone());
    let versions = Engine::get().versions(&[]);
    let folder = logs.display().to_string();
    let text = report::markdown(std::slice::from_ref(&entry), &outcomes, &versions, SECOND);
    assert!(
        text.contains("**0 passed, 1 failed**") && text.contains("**FAILED**"),
        "{text}"
    );
    assert!(text.contains(&folder), "the report names the logs: {text}");
    let text = report::junit(&[entry], &outcomes, &versions, SECOND);
    assert!(
        text.contains("failures=\"1\"") && text.contains(&folder),
        "{text}"
    );
    fs::remove_dir_all(logs).expect("the logs are there");
}

fn fails(stage: &Stage) {
    let network = stage.network("net");
    let server = Server::start(stage, &network, Kind::Ours, Config::server());
    let config = Config::client().set("token", "another-token-of-32-characters-1");
    let client = Client::spawn(
        stage,
        "client",
        &network,
        Kind::Ours,
        server.address(),
        config,
    );
    if client.wait_for_exit(15 * SECOND) == 1 {
        // As any assertion does, but without a word on stderr: it is meant.
        panic::resume_unwind(Box::new("a client with a wrong token connects"));
    }
}

fn what_a_killed_run_left_is_removed(stage: &Stage) {
    let engine = Engine::get();
    let kept = stage.network("kept");
    // Process ids end far below this one.
    let left = stage.engine_name("left");
    let request = NetworkCreateRequest {
        name: left.clone(),
        internal: Some(true),
        labels: Some(HashMap::from([(
            LABEL.to_owned(),
            "4294967295.1".to_owned(),
        )])),
        ..NetworkCreateRequest::default()
    };
    engine
        .wait(engine.docker().create_network(request))
        .expect("the engine makes a network");
    engine.sweep(false);
    let is_there = |name: &str| {
        engine
            .wait(engine.docker().inspect_network(name, None))
            .is_ok()
    };
    assert!(
        !is_there(&left),
        "a network of a run that has ended is still there"
    );
    assert!(is_there(kept.name()), "a network of this run is gone");
}

fn a_combination_without_a_meaning_is_not_counted(_: &Stage) {
    let entries = [
        entry("a", Some("for this reason")),
        entry("b", None),
        entry("c", None),
    ];
    let outcomes = Outcomes::default();
    outcomes.note("b", Outcome::Passed(Duration::ZERO));
    let expected = Totals {
        passed: 1,
        failed: 0,
        left_out: 1,
        meaningless: 1,
    };
    assert_eq!(report::totals(&entries, &outcomes), expected);
    let text = report::markdown(&entries, &outcomes, &Engine::get().versions(&[]), SECOND);
    assert!(
        text.contains("n/a [1]") && text.contains("1. for this reason"),
        "{text}"
    );
}

fn entry(name: &str, meaningless: Option<&'static str>) -> Entry {
    Entry {
        name: name.to_owned(),
        group: GROUP,
        row: name.to_owned(),
        column: String::new(),
        expected: Vec::new(),
        meaningless,
    }
}
