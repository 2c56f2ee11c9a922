//! The program itself, from its command line to its exit code. Each run has a network namespace
//! of its own (`unshare --net`, which needs root), so that nothing of this host is touched.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// What a step may take at most before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn program(args: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--", env!("CARGO_BIN_EXE_qdt-client")])
        .args(args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn start(args: &[&str]) -> Child {
    program(args)
        .spawn()
        .expect("`unshare` of util-linux is there")
}

/// Waits for the program's end and gives what it wrote and is not read elsewhere.
fn end(child: Child) -> Output {
    let id = child.id().to_string();
    let (ended, end) = channel();
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    match end.recv_timeout(PATIENCE) {
        Ok(output) => output.expect("a child of ours"),
        Err(_) => {
            let killed = Command::new("kill").args(["-KILL", &id]).status();
            panic!("the program did not end; killed: {killed:?}");
        }
    }
}

fn output(args: &[&str]) -> Output {
    let output = end(start(args));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !stderr.contains("unshare failed"),
        "these tests need root: {stderr}"
    );
    output
}

struct File(tempfile::TempDir);

impl File {
    fn new(yaml: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("client.yaml"), yaml).expect("a file");
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("client.yaml")
    }
}

const YAML: &str = "server: 192.0.2.1:443\ntoken: a-token-of-some-length\ninsecure: true\n";

#[test]
fn a_signal_while_dialling_exits_well() {
    for signal in ["-TERM", "-INT"] {
        let file = File::new(YAML);
        let mut child = start(&["-config", &file.path().to_string_lossy()]);
        let (seen, lines) = channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if seen.send(line).is_err() {
                    break;
                }
            }
        });
        // Without a network every round fails, and the next one follows.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines
                .recv_timeout(left)
                .expect("`connect failed` (these tests need root)");
            if line.contains("level=WARN msg=\"connect failed\"") {
                break;
            }
        }
        let killed = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(killed.expect("`kill` is there").success());
        assert_eq!(end(child).status.code(), Some(0), "{signal}");
    }
}

#[test]
fn a_missing_configuration_is_one_line_that_names_it_and_exit_code_1() {
    let output = output(&["-config", "/nowhere/client.yaml"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains(" ERROR config error err=\"/nowhere/client.yaml: "),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn an_unknown_log_level_is_a_logger_error() {
    let file = File::new(&format!("{YAML}log_level: loud\n"));
    let output = output(&["-config", &file.path().to_string_lossy()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains(" ERROR logger error err="), "{stderr}");
}

#[test]
fn a_missing_ca_file_is_a_client_error_that_names_it() {
    let yaml = "server: 192.0.2.1:443\ntoken: a-token-of-some-length\nca_file: /nowhere/ca.pem\n";
    let file = File::new(yaml);
    let output = output(&["-config", &file.path().to_string_lossy()]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout.contains("level=ERROR msg=\"client error\" err=\"ca_file /nowhere/ca.pem"),
        "{stdout}"
    );
}

#[test]
fn the_command_line_is_that_of_the_go_client() {
    assert_eq!(output(&["-h"]).status.code(), Some(0));
    assert_eq!(output(&["-x"]).status.code(), Some(2));
    assert_eq!(output(&["-config"]).status.code(), Some(2));
    assert_eq!(output(&["-config", ""]).status.code(), Some(1));
}
