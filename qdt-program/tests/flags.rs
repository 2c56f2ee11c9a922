//! The command line, against the behaviour of Go's `flag` package.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use qdt_program::{CommandLine, EarlyExit};

const USAGE: &str = "Usage of qdt-server:\n  -config string\n    \tpath of the configuration file (default \"server.yaml\")\n  -version\n    \tprint the version and exit\n";

fn parse(args: &[&str]) -> Result<CommandLine, EarlyExit> {
    let args = std::iter::once("qdt-server").chain(args.iter().copied());
    CommandLine::parse(args.map(OsString::from), "server.yaml")
}

fn run(args: &[&str]) -> Result<PathBuf, EarlyExit> {
    parse(args).map(|line| line.config)
}

/// An exit with a complaint and no output.
fn exit(code: u8, stderr: String) -> EarlyExit {
    EarlyExit {
        code,
        stdout: String::new(),
        stderr,
    }
}

fn path(args: &[&str]) -> String {
    run(args)
        .expect("a path")
        .to_str()
        .expect("UTF-8")
        .to_owned()
}

#[test]
fn the_path_comes_behind_one_dash_or_two_with_or_without_an_equals_sign() {
    assert_eq!(path(&["-config", "a.yaml"]), "a.yaml");
    assert_eq!(path(&["--config", "a.yaml"]), "a.yaml");
    assert_eq!(path(&["-config=a.yaml"]), "a.yaml");
    assert_eq!(path(&["--config=a=b.yaml"]), "a=b.yaml");
    assert_eq!(path(&["-config", "-x"]), "-x");
}

#[test]
fn without_the_flag_the_default_is_used() {
    assert_eq!(path(&[]), "server.yaml");
}

#[test]
fn the_last_one_wins() {
    assert_eq!(path(&["-config", "a", "--config=b"]), "b");
}

#[test]
fn parsing_stops_at_the_first_positional_argument() {
    assert_eq!(path(&["-config", "a", "run", "-config", "b", "-x"]), "a");
    assert_eq!(path(&["--", "-x"]), "server.yaml");
    assert_eq!(path(&["-", "-x"]), "server.yaml");
    assert_eq!(path(&["", "-x"]), "server.yaml");
}

#[test]
fn help_prints_the_usage_and_succeeds() {
    for help in ["-h", "--h", "-help", "--help", "-h=1"] {
        assert_eq!(run(&[help]), Err(exit(0, USAGE.to_owned())), "{help}");
    }
}

#[test]
fn an_unknown_flag_is_named_and_exits_2() {
    for flag in ["-x", "--x", "-x=5"] {
        let stderr = format!("flag provided but not defined: -x\n{USAGE}");
        assert_eq!(run(&[flag]), Err(exit(2, stderr)), "{flag}");
    }
}

#[test]
fn a_flag_without_its_value_exits_2() {
    let stderr = format!("flag needs an argument: -config\n{USAGE}");
    assert_eq!(run(&["-config"]), Err(exit(2, stderr)));
}

#[test]
fn a_malformed_flag_exits_2() {
    for flag in ["---config", "-=a", "--=a"] {
        let stderr = format!("bad flag syntax: {flag}\n{USAGE}");
        assert_eq!(run(&[flag]), Err(exit(2, stderr)), "{flag}");
    }
}

#[test]
fn an_empty_path_exits_1_and_says_so() {
    for args in [&["-config="][..], &["-config", ""]] {
        let exit = run(args).expect_err("no path");
        assert_eq!(exit.code, 1);
        assert!(
            exit.stderr
                .ends_with(" ERROR config error err=\"config path is empty\"\n"),
            "{exit:?}"
        );
    }
}

#[test]
fn a_path_need_not_be_utf_8() {
    let args = [b"qdt-server".to_vec(), b"-config=/tmp/\xff.yaml".to_vec()];
    let path = CommandLine::parse(args.map(OsString::from_vec), "server.yaml")
        .expect("a path")
        .config;
    assert_eq!(path.into_os_string().into_vec(), b"/tmp/\xff.yaml");
}

#[test]
fn the_version_goes_to_stdout_and_succeeds() {
    let version = format!("qdt-server {}\n", env!("CARGO_PKG_VERSION"));
    for flag in ["-version", "--version"] {
        for args in [&[flag][..], &["-config", "a", flag]] {
            let expected = EarlyExit {
                code: 0,
                stdout: version.clone(),
                stderr: String::new(),
            };
            assert_eq!(run(args), Err(expected), "{args:?}");
        }
    }
    assert_eq!(run(&["-version=false", "-config", "a"]), Ok("a".into()));
    let refused = run(&["-version=maybe"]).expect_err("no such value");
    assert_eq!(refused.code, 2);
    assert!(
        refused.stderr.contains("invalid boolean value"),
        "{refused:?}"
    );
    let args = ["/usr/local/bin/qdt-client", "-version"].map(OsString::from);
    let exit = CommandLine::parse(args, "client.yaml").expect_err("no path");
    assert!(exit.stdout.starts_with("qdt-client "), "{exit:?}");
}

#[test]
fn words_that_are_not_read_are_named_in_a_warning_with_the_file_that_is_used() {
    let line = parse(&["start", "-config", "one.yaml"]).expect("a path");
    assert_eq!(line.ignored, ["start", "-config", "one.yaml"]);
    let warning = line.warning().expect("words were ignored");
    for part in ["start -config one.yaml", "server.yaml"] {
        assert!(warning.contains(part), "{part} is not in {warning}");
    }
    for args in [
        &["-config", "a", "b"][..],
        &["--", "b"],
        &["-config=a", "--", "b"],
    ] {
        assert_eq!(parse(args).expect("a path").ignored, ["b"], "{args:?}");
    }
    for args in [&[][..], &["-config", "a"], &["-config=a", "--"]] {
        assert_eq!(parse(args).expect("a path").warning(), None, "{args:?}");
    }
}
