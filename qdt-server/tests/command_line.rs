//! The running program with faulty input: command line and exit codes. Every configuration here has
//! a fault that is found before the TUN device is opened.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn server(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qdt-server"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Exit code and output of a server with this server.yaml.
fn with_config(folder: &Path, yaml: &str) -> (i32, String) {
    fs::write(folder.join("server.yaml"), yaml).unwrap();
    let output = server(&["-config", "server.yaml"], folder);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8(said).unwrap(),
    )
}

#[test]
fn help_goes_to_stderr_with_exit_code_0_and_a_wrong_flag_with_2() {
    let folder = folder();
    for (arguments, code, text) in [
        (&["-h"][..], 0, "Usage of "),
        (&["-x"], 2, "flag provided but not defined: -x\nUsage of "),
        (
            &["-config"],
            2,
            "flag needs an argument: -config\nUsage of ",
        ),
        (&["-config="], 1, "config path is empty"),
    ] {
        let output = server(arguments, folder.path());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(text), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_version_is_printed_and_no_file_created() {
    let folder = folder();
    let output = server(&["--version"], folder.path());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout,
        format!("qdt-server {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn arguments_before_the_flag_are_a_warning() {
    let folder = folder();
    fs::write(folder.path().join("server.yaml"), "token: YOUR_TOKEN\n").unwrap();
    let output = server(&["start", "-config", "one.yaml"], folder.path());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let warning = stderr.lines().next().unwrap();
    for part in [
        " WARN arguments ignored ",
        "start -config one.yaml",
        "server.yaml",
    ] {
        assert!(warning.contains(part), "{part} is not in {stderr}");
    }
}

#[test]
fn a_fault_in_the_file_is_one_line_with_the_key_and_exit_code_1() {
    for (yaml, key) in [
        ("", "token"),
        ("token: YOUR_TOKEN\n", "token"),
        ("token: CHANGE_ME\n", "token"),
        (
            "token: 0123456789abcdef\npool_cidr: 10.8.0.0/31\n",
            "pool_cidr",
        ),
        (
            "token: 0123456789abcdef\npool_cidr: fd00::/64\n",
            "pool_cidr",
        ),
        (
            "token: 0123456789abcdef\ngateway_ip: 10.9.0.1\n",
            "gateway_ip",
        ),
        (
            "token: 0123456789abcdef\nsession_timeout: 5\n",
            "session_timeout",
        ),
        ("token: 0123456789abcdef\naddr: nowhere\n", "addr"),
        ("token: [a, b]\n", "token"),
    ] {
        let folder = folder();
        let (code, said) = with_config(folder.path(), yaml);
        assert_eq!(code, 1, "{yaml}: {said}");
        assert_eq!(said.lines().count(), 1, "{yaml}: {said}");
        assert!(said.contains(" ERROR config error err="), "{yaml}: {said}");
        assert!(said.contains(key), "{yaml}: {said}");
        assert_eq!(
            fs::read_to_string(folder.path().join("server.yaml")).unwrap(),
            yaml
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "{yaml}: wrote something"
        );
    }
}

#[test]
fn an_unknown_log_level_is_a_logger_error() {
    let folder = folder();
    let (code, said) = with_config(folder.path(), "token: 0123456789abcdef\nlog_level: loud\n");
    assert_eq!(code, 1);
    assert!(said.contains(" ERROR logger error err="), "{said}");
}

#[test]
fn a_key_without_its_certificate_is_an_error_that_overwrites_nothing() {
    let folder = folder();
    fs::write(folder.path().join("key.pem"), "mine").unwrap();
    let (code, said) = with_config(folder.path(), "token: 0123456789abcdef\n");
    assert_eq!(code, 1);
    assert!(said.contains("cert.pem does not exist, but"), "{said}");
    assert_eq!(
        fs::read_to_string(folder.path().join("key.pem")).unwrap(),
        "mine"
    );
    assert!(!folder.path().join("cert.pem").exists());
}

#[test]
fn a_broken_certificate_is_an_init_error_that_names_the_file() {
    let folder = folder();
    for name in ["cert.pem", "key.pem"] {
        fs::write(folder.path().join(name), "not pem").unwrap();
    }
    let (code, said) = with_config(folder.path(), "token: 0123456789abcdef\n");
    assert_eq!(code, 1);
    assert!(
        said.contains("level=ERROR msg=\"server init error\" err=\"tls_cert "),
        "{said}"
    );
}

#[test]
fn l9_a_faulty_configuration_does_not_leak_its_token() {
    let folder = folder();
    for yaml in [
        "token: s3cr3t-s3cr3t-s3cr3t\npool_cidr: 1.2.3.4/31\n",
        "token: s3cr3t-s3cr3t-s3cr3t\ntoken: s3cr3t-s3cr3t-s3cr3t\n",
        "token: s3cr3t-s3cr3t-s3cr3t\n  broken: [\n",
    ] {
        let (code, said) = with_config(folder.path(), yaml);
        assert_eq!(code, 1, "{yaml}");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
}

#[test]
fn a_world_accessible_secret_is_one_warning_with_its_mode_and_the_remedy() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    for (mode, warnings) in [(0o644, 2), (0o602, 2), (0o640, 0), (0o600, 0)] {
        for (name, text) in [
            ("server.yaml", "token: 0123456789abcdef\n"),
            ("cert.pem", "not pem"),
            ("key.pem", "not pem"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let output = server(&["-config", "server.yaml"], folder.path());
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = said
            .lines()
            .filter(|line| line.contains("secret file is open to everybody"))
            .collect();
        assert_eq!(lines.len(), warnings, "{mode:o}: {said}");
        for (line, file) in lines.iter().zip(["server.yaml", "key.pem"]) {
            for part in ["level=WARN", file, &format!("mode=0{mode:o}"), "chmod 600"] {
                assert!(line.contains(part), "{part} is not in {line}");
            }
        }
    }
}
