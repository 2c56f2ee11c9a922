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
        // The tests may run with SIGHUP ignored (nohup), which the client inherits.
        .args(["--net", "--", "env", "--default-signal=HUP"])
        .arg(env!("CARGO_BIN_EXE_qdt-client"))
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
        Ok(output) => output.expect("our child"),
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

/// Without a word about certificates.
const TRUSTING: &str = "server: 192.0.2.1:443\ntoken: a-token-of-some-length\n";
const YAML: &str = "server: 192.0.2.1:443\ntoken: a-token-of-some-length\ninsecure: true\n";

/// Starts `command`, a client, and waits until it dials.
fn dialling(mut command: Command) -> Child {
    let mut child = command.spawn().expect("`unshare` of util-linux is there");
    let (seen, lines) = channel();
    let stdout = child.stdout.take().expect("piped");
    std::thread::spawn(move || {
        // Reads on after the last awaited line: the client needs an open stdout.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = seen.send(line);
        }
    });
    // Without a network every round fails, and the next one follows.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.contains("level=WARN msg=\"connect failed\"") => return child,
            Ok(_) => {}
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("no `connect failed` (these tests need root)");
            }
        }
    }
}

fn send(signal: &str, child: &Child) {
    let killed = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(killed.expect("`kill` is there").success());
}

#[test]
fn a_signal_while_dialling_exits_well() {
    for signal in ["-TERM", "-INT", "-HUP", "-QUIT", "-PWR", "-XCPU"] {
        let file = File::new(YAML);
        let child = dialling(program(&["-config", &file.path().to_string_lossy()]));
        send(signal, &child);
        assert_eq!(end(child).status.code(), Some(0), "{signal}");
    }
}

#[test]
fn a_signal_that_asks_for_nothing_ends_nothing() {
    let file = File::new(YAML);
    let child = dialling(program(&["-config", &file.path().to_string_lossy()]));
    for signal in [
        "-USR1", "-USR2", "-ALRM", "-VTALRM", "-IO", "-STKFLT", "-XFSZ", "-PIPE",
    ] {
        send(signal, &child);
    }
    // Signals of lower numbers are delivered first: one of those before would have ended it.
    send("-PWR", &child);
    assert_eq!(end(child).status.code(), Some(0));
}

#[test]
fn a_client_that_was_started_with_sighup_ignored_outlives_its_terminal() {
    let file = File::new(YAML);
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "trap '' HUP; exec \"$@\"",
            "sh",
            "unshare",
            "--net",
            "--",
        ])
        .args([env!("CARGO_BIN_EXE_qdt-client"), "-config"])
        .arg(file.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = dialling(command);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.expect("a mask").trim(), 16);
    assert_eq!(ignored.expect("a number") & 1, 1, "SIGHUP is ignored");
    send("-HUP", &child);
    send("-TERM", &child);
    assert_eq!(end(child).status.code(), Some(0));
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
    let file = File::new(&format!("{TRUSTING}ca_file: /nowhere/ca.pem\n"));
    let output = output(&["-config", &file.path().to_string_lossy()]);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout.contains("level=ERROR msg=\"client error\" err=\"ca_file /nowhere/ca.pem"),
        "{stdout}"
    );
}

#[test]
fn a_configuration_that_everybody_can_read_is_one_warning_with_its_mode_and_the_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    for (mode, expected) in [(0o644, 1), (0o600, 0)] {
        // Ends at once, because of the file that is not there.
        let file = File::new(&format!("{TRUSTING}ca_file: /nowhere/ca.pem\n"));
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).expect("the file is ours");
        let output = output(&["-config", &file.path().to_string_lossy()]);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let warnings = stdout.lines().filter(|line| {
            ["level=WARN", "client.yaml", "mode=0644", "chmod 600"]
                .iter()
                .all(|part| line.contains(part))
        });
        assert_eq!(warnings.count(), expected, "{stdout}");
    }
}

#[test]
fn the_command_line_is_that_of_the_go_client() {
    assert_eq!(output(&["-h"]).status.code(), Some(0));
    assert_eq!(output(&["-x"]).status.code(), Some(2));
    assert_eq!(output(&["-config"]).status.code(), Some(2));
    assert_eq!(output(&["-config", ""]).status.code(), Some(1));
}
