//! client.yaml that does not do: each error names the file, the key, what is wrong and what to do.

use std::fs;
use std::path::Path;
use std::time::Duration;

use qdt_client::config::{ClientConfig, RouteMode};
use qdt_program::{Loaded, LogLevel, ReadError};

/// What every file needs; the token is long enough not to be warned about.
const REQUIRED: &str = "server: vpn.example.org:443\ntoken: 0123456789abcdef\n";

fn load_text(text: &str) -> Result<Loaded<ClientConfig>, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("client.yaml");
    fs::write(&path, text).expect("a file");
    ClientConfig::load(&path).map_err(|error| {
        let error = error.to_string();
        assert_eq!(error.lines().count(), 1, "one line: {error}");
        let rest = error.strip_prefix(&format!("{}: ", path.display()));
        rest.unwrap_or_else(|| panic!("{error} must begin with the file"))
            .to_owned()
    })
}

fn load(yaml: &str) -> Loaded<ClientConfig> {
    load_text(&format!("{REQUIRED}{yaml}")).unwrap_or_else(|error| panic!("{yaml:?}: {error}"))
}

fn error(yaml: &str) -> String {
    load_text(&format!("{REQUIRED}{yaml}")).expect_err("refused")
}

fn warnings(yaml: &str) -> Vec<String> {
    load(yaml)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn server_and_token_are_required() {
    let no_server = load_text("token: abc\n").expect_err("refused");
    assert_eq!(
        no_server,
        "server: server is required; write the server's host:port, for example vpn.example.org:443"
    );
    let no_token = load_text("server: a:1\n").expect_err("refused");
    assert_eq!(
        no_token,
        "token: token is required; copy it from the server's server.yaml"
    );
}

#[test]
fn a_server_without_a_port_is_refused() {
    let error = load_text("server: vpn.example.org\ntoken: abc\n").expect_err("refused");
    assert_eq!(
        error,
        "server: address vpn.example.org: missing port in address; write host:port, for example vpn.example.org:443"
    );
    let error = load_text("server: vpn.example.org:0\ntoken: abc\n").expect_err("refused");
    assert!(
        error.contains("no server can be reached at port 0"),
        "{error}"
    );
}

#[test]
fn a_placeholder_token_is_refused() {
    for placeholder in ["YOUR_TOKEN", "CHANGE_ME"] {
        let text = format!("server: a:1\ntoken: {placeholder}\n");
        let error = load_text(&text).expect_err("refused");
        assert!(
            error.starts_with("token: token is still the placeholder of a sample file"),
            "{error}"
        );
    }
}

#[test]
fn a_token_that_no_request_can_carry_is_refused_with_the_limit() {
    let max = qdt_program::Token::MAX_LEN;
    for character in ["a", "~", "\u{ff}"] {
        let fits = character.repeat(max / character.len());
        assert_eq!(fits.len(), max);
        load_text(&format!("server: a:1\ntoken: \"{fits}\"\n")).expect("it fits");
        let error = load_text(&format!("server: a:1\ntoken: \"{fits}b\"\n")).expect_err("refused");
        assert_eq!(
            error,
            format!(
                "token: token is {} bytes long and at most {max} can be presented to a server; use a shorter secret, for example the output of `openssl rand -base64 32`",
                max + 1
            )
        );
    }
}

#[test]
fn a_client_id_that_no_request_can_carry_is_refused_with_the_limit() {
    load(&format!("client_id: {}\n", "n".repeat(512)));
    let error = error(&format!("client_id: {}\n", "n".repeat(513)));
    assert_eq!(
        error,
        "client_id: 513 bytes long and at most 512 fit into a request; use a shorter name"
    );
}

#[test]
fn a_short_token_is_a_loud_warning() {
    let warnings = load_text("server: a:1\ntoken: abc\n")
        .expect("accepted")
        .warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0]
            .to_string()
            .starts_with("token: WEAK TOKEN: only 3 bytes")
    );
}

#[test]
fn insecure_is_a_loud_warning_unless_a_pin_stands_in() {
    assert!(
        warnings("insecure: true\n")[0]
            .starts_with("insecure: INSECURE: any certificate is accepted")
    );
    let pin = format!("server_pin: sha256/{}=\n", "A".repeat(43));
    assert!(warnings(&format!("insecure: true\n{pin}")).is_empty());
}

#[test]
fn resolvers_must_be_addresses() {
    for text in ["--flag", "dns.example.org", "1.1.1", ""] {
        let error = error(&format!("dns: [{text:?}]\n"));
        assert!(error.starts_with(&format!(
            "dns: {text:?} is no IP address; write addresses such as"
        )));
    }
    let dns = load("dns: [9.9.9.9, \"2620:fe::fe\"]\n").config.dns;
    assert_eq!(
        dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["9.9.9.9", "2620:fe::fe"]
    );
}

#[test]
fn a_pin_is_sha256_and_base64_of_32_bytes() {
    let padded = format!("sha256/{}=", "A".repeat(43));
    for pin in [padded.as_str(), padded.trim_end_matches('=')] {
        let config = load(&format!("server_pin: {pin}\n")).config;
        let pin = config.server_pin.expect("a pin");
        assert_eq!(pin.to_string(), padded);
    }
    for wrong in ["sha1/AAAA", "AAAA", "sha256/AAAA", "sha256/???"] {
        let error = error(&format!("server_pin: {wrong}\n"));
        assert!(
            error.starts_with("server_pin: not a pin; it must be sha256/ and 44 characters"),
            "{error}"
        );
    }
}

#[test]
fn an_unknown_route_mode_is_default_and_said() {
    for (text, mode) in [
        ("default", RouteMode::Default),
        ("cidr", RouteMode::Cidr),
        ("none", RouteMode::None),
        ("", RouteMode::Default),
    ] {
        let loaded = load(&format!("route_mode: {text}\n"));
        assert_eq!((loaded.config.route_mode, loaded.warnings.len()), (mode, 0));
    }
    let loaded = load("route_mode: Everything\n");
    assert_eq!(loaded.config.route_mode, RouteMode::Default);
    assert!(
        loaded.warnings[0]
            .to_string()
            .starts_with("route_mode: \"Everything\" is none of default, cidr, none")
    );
}

#[test]
fn numbers_out_of_bounds_are_moved_inside_and_said() {
    for (given, used) in [(-5, 1350), (1, 576), (70_000, 65_535)] {
        let loaded = load(&format!("mtu: {given}\n"));
        assert_eq!(loaded.config.mtu, used);
        let expected = format!("mtu: {given} is outside 576 to 65535; {used} is used");
        assert_eq!(loaded.warnings[0].to_string(), expected);
    }
    assert_eq!(
        warnings("timeout: -3s\n"),
        ["timeout: -3s is negative; 10s is used"]
    );
    assert_eq!(
        load("probe_interval: 1ns\n").config.probe_interval,
        Some(Duration::from_millis(100))
    );
    assert_eq!(
        warnings("probe_interval: 1ns\n"),
        ["probe_interval: 1ns is too short; 100ms is used"]
    );
    assert_eq!(load("probe_interval: -1s\n").config.probe_interval, None);
    assert_eq!(
        warnings("probe_interval: -1s\n"),
        ["probe_interval: -1s is negative; the default is used"]
    );
}

#[test]
fn a_name_that_no_interface_can_have_is_refused() {
    assert!(
        error("tun_name: a/b\n").starts_with("tun_name: \"a/b\" is no interface name; use 1 to 15")
    );
}

#[test]
fn unknown_keys_are_warned_about_with_the_nearest_known_one() {
    assert_eq!(
        warnings("inscure: true\n"),
        ["line 3: inscure: unknown key, ignored; did you mean insecure?"]
    );
}

#[test]
fn an_unknown_log_level_is_a_logger_error() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("client.yaml");
    fs::write(&path, format!("{REQUIRED}log_level: loud\n")).expect("a file");
    assert_eq!(
        ClientConfig::load(&path).expect_err("refused").message(),
        "logger error"
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = ClientConfig::load(Path::new("no/such/client.yaml")).expect_err("no file");
    assert!(matches!(error, ReadError::NotFound(_)));
    assert_eq!(
        error.to_string(),
        "no/such/client.yaml: no such file; name the configuration with -config PATH"
    );
    assert_eq!(error.message(), "config error");
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let Loaded { config, warnings } = load("");
    assert_eq!(warnings, []);
    assert_eq!(config.server.to_string(), "vpn.example.org:443");
    assert_eq!(config.token.as_bytes(), b"0123456789abcdef");
    assert_eq!((config.mtu, config.tun_name.as_str()), (1350, "qdt0"));
    assert_eq!(config.route_mode, RouteMode::Default);
    assert!(config.dns.is_empty());
    assert_eq!((config.log.level, config.log.json), (LogLevel::Info, false));
    assert!(!config.insecure);
    assert_eq!(config.timeout, Duration::from_secs(10));
    assert_eq!(config.client_id, "");
    assert_eq!(config.max_reassembly_bytes, 65_535);
    assert_eq!(config.server_pin, None);
    assert_eq!(config.ca_file, None);
    assert_eq!(config.probe_interval, None);
}

#[test]
fn a_secret_stays_out_of_debug_output() {
    let debug = format!("{:?}", load(""));
    assert!(!debug.contains("0123456789abcdef"), "{debug}");
}
