//! The parity probe as its users run it, against both kinds of server: the program `conformance` on
//! a machine of the lab, its report and its exit code.

use std::path::PathBuf;
use std::process::{Output, Stdio};

use conformance::parity::remarks;
use conformance::{Config, Lab, Server, Token};

/// A server that counts no handshakes: the probe may be as fast as it can.
fn unlimited() -> Config {
    Config::server()
        .set("handshake_rate", "{pps: -1}")
        .set("handshake_ip_rate", "{pps: -1}")
}

/// A file with this token on client 0.
fn token_file(lab: &Lab, token: &str) -> PathBuf {
    let path = lab.clients[0].folder().join("token");
    std::fs::write(&path, token).expect("the machine's folder is writable");
    path
}

/// Runs `conformance probe` on client 0 with a right token file and more arguments.
fn probe(lab: &Lab, arguments: &[&str]) -> Output {
    probe_with(lab, &format!("{}\n", Token::TEXT), arguments)
}

fn probe_with(lab: &Lab, token: &str, arguments: &[&str]) -> Output {
    lab.clients[0]
        .command(env!("CARGO_BIN_EXE_conformance"))
        .arg("probe")
        .arg("--token-file")
        .arg(token_file(lab, token))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the probe can be started")
}

/// What it said, for messages.
fn said(output: &Output) -> String {
    format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[track_caller]
fn assert_exit(output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{}", remarks(&said));
    assert!(!said.contains(Token::TEXT), "the token shows:\n{said}");
    said
}

const SERVER: &str = "192.0.2.2:443";
const FAST: &str = "--rate=0";

#[test]
fn the_server_does_everything_as_documented_labels_included() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, unlimited().set("dns", "[9.9.9.9]"));
    let markdown = lab.clients[0].folder().join("report.md");
    let output = probe(
        &lab,
        &[
            "--server",
            SERVER,
            FAST,
            "--metrics=http://192.0.2.2:9100/metrics",
            "--markdown",
            &markdown.to_string_lossy(),
        ],
    );
    let said = assert_exit(&output, 0);
    let all = said.contains(" 0 different, 0 not asked");
    assert!(all, "{}", remarks(&said));
    let markdown = std::fs::read_to_string(markdown).expect("the report was written");
    assert!(markdown.contains("labels of `qdt_handshakes_total` included"));
    assert!(markdown.contains("## order of checks"));
    assert!(!markdown.contains(Token::TEXT));
}

#[test]
fn a_server_on_ipv6_does_so_too() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, unlimited());
    assert_exit(&probe(&lab, &["--server", "[2001:db8:2::2]:443", FAST]), 0);
}

#[test]
fn a_small_pool_is_not_used_up_by_the_probe() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, unlimited().set("pool_cidr", "10.8.0.0/29"));
    let said = assert_exit(&probe(&lab, &["--server", SERVER, FAST]), 0);
    assert!(said.contains("the pool has 5 addresses"), "{said}");
    assert_eq!(server.metrics().handshakes("pool_exhausted"), 0.0);
}

#[test]
fn the_probe_stays_below_the_default_limits_of_a_server() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    assert_exit(&probe(&lab, &["--server", SERVER]), 0);
    assert_eq!(server.metrics().handshakes("rate_limited"), 0.0);
}

#[test]
fn a_go_server_does_what_is_documented_of_it() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, Config::server());
    let output = probe(&lab, &["--server", SERVER, FAST, "--dialect=go"]);
    assert_exit(&output, 0);
}

#[test]
fn differences_are_named_with_what_was_sent_expected_and_got() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, Config::server());
    let said = assert_exit(&probe(&lab, &["--server", SERVER, FAST]), 1);
    let difference = "  DIFF  //connect is not /connect: POST //connect";
    assert!(said.contains(difference), "{said}");
    assert!(said.contains("expected  404 404 page not found"), "{said}");
    assert!(said.contains("got       30"), "{said}");
    assert!(
        said.contains("DIFFERENT: content-length: a length of 0"),
        "{said}"
    );
}

#[test]
fn a_wrong_token_says_what_to_compare() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let output = probe_with(
        &lab,
        "another-token-of-32-characters-1",
        &["--server", SERVER],
    );
    let said = assert_exit(&output, 2);
    assert!(
        said.contains("compare it with `token` in server.yaml"),
        "{said}"
    );
}

#[test]
fn a_server_that_does_not_answer_says_where_to_look() {
    let lab = Lab::new(1);
    let said = assert_exit(&probe(&lab, &["--server", SERVER]), 2);
    assert!(said.contains("takes no connection"), "{said}");
    assert!(said.contains("udp port 443"), "{said}");
}

#[test]
fn a_token_file_that_is_none_says_what_it_should_hold() {
    let lab = Lab::new(1);
    let output = probe_with(&lab, "addr: :443\ntoken: x\n", &["--server", SERVER]);
    let said = assert_exit(&output, 2);
    assert!(said.contains("not the whole server.yaml"), "{said}");
}

#[test]
fn metrics_that_cannot_be_read_say_what_they_are_for() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let metrics = "--metrics=http://192.0.2.2:9999/metrics";
    let said = assert_exit(&probe(&lab, &["--server", SERVER, metrics]), 2);
    assert!(said.contains("`metrics_addr`"), "{said}");
}
