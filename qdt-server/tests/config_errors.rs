//! Faulty server.yaml files: each error names file, key, fault and remedy.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use qdt_program::{Loaded, LogLevel, ReadError};
use qdt_server::config::{Nat, Rate, ServerConfig};

/// Long enough for no warning.
const TOKEN: &str = "token: 0123456789abcdef\n";

fn load_text(text: impl AsRef<[u8]>) -> (PathBuf, Result<Loaded<ServerConfig>, ReadError>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("server.yaml");
    fs::write(&path, text).expect("a file");
    let result = ServerConfig::load(&path, 2);
    (path, result)
}

fn load(yaml: &str) -> Loaded<ServerConfig> {
    load_text(format!("{TOKEN}{yaml}"))
        .1
        .unwrap_or_else(|error| panic!("{yaml:?}: {error}"))
}

fn error(yaml: &str) -> String {
    let (path, result) = load_text(format!("{TOKEN}{yaml}"));
    stripped(&path, result)
}

/// The error without its prefix, the name of the file.
fn stripped(path: &Path, result: Result<Loaded<ServerConfig>, ReadError>) -> String {
    let error = result.expect_err("refused").to_string();
    let rest = error.strip_prefix(&format!("{}: ", path.display()));
    assert_eq!(error.lines().count(), 1, "one line: {error}");
    rest.unwrap_or_else(|| panic!("{error} must begin with the file"))
        .to_owned()
}

#[test]
fn a_pool_that_is_too_small_is_refused() {
    for prefix in [31, 32] {
        let error = error(&format!("pool_cidr: 10.8.0.0/{prefix}\n"));
        let expected = format!(
            "pool_cidr: \"10.8.0.0/{prefix}\" is too small: the gateway and one client need at least a /30; use for example 10.8.0.0/24"
        );
        assert_eq!(error, expected);
    }
    assert_eq!(
        load("pool_cidr: 10.8.0.0/30\n")
            .config
            .addresses
            .gateway
            .to_string(),
        "10.8.0.1"
    );
}

#[test]
fn a_pool_that_is_not_an_ipv4_network_is_refused() {
    assert!(
        error("pool_cidr: bad\n")
            .starts_with("pool_cidr: \"bad\" is not a network; use for example")
    );
    assert!(error("pool_cidr: 10.8.0.0\n").starts_with("pool_cidr: "));
    assert!(error("pool_cidr: fd00::/64\n").contains("only IPv4 is supported for the pool"));
}

#[test]
fn a_gateway_outside_the_pool_is_refused() {
    let outside = error("gateway_ip: 10.9.0.1\n");
    assert_eq!(
        outside,
        "gateway_ip: \"10.9.0.1\" is outside the pool 10.8.0.0/24; leave the key out for the first host, or name another host of the pool"
    );
    for end in ["10.8.0.0", "10.8.0.255"] {
        assert!(error(&format!("gateway_ip: {end}\n")).contains("is not a host of the pool"));
    }
    assert!(error("gateway_ip: gw\n").contains("is not an IPv4 address"));
    let inside = load("pool_cidr: 10.9.5.7/16\ngateway_ip: 10.9.200.1\n").config;
    assert_eq!(inside.addresses.pool_text, "10.9.5.7/16");
    assert_eq!(inside.addresses.pool.network().to_string(), "10.9.0.0");
    assert_eq!(inside.addresses.gateway.to_string(), "10.9.200.1");
}

#[test]
fn a_placeholder_token_is_refused() {
    for placeholder in ["YOUR_TOKEN", "CHANGE_ME"] {
        let (path, result) = load_text(format!("token: {placeholder}\n"));
        let error = stripped(&path, result);
        assert!(
            error.starts_with(
                "token: token is still the placeholder of a sample file; put a secret"
            )
        );
        assert!(error.contains("openssl rand"), "{error}");
    }
}

#[test]
fn an_existing_file_without_a_token_is_an_error_and_unchanged() {
    for text in [
        "",
        "mtu: 1300\n",
        "token:\n",
        "token: \"\"\n",
        "Token: abc\n",
    ] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("server.yaml");
        fs::write(&path, text).expect("a file");
        let error = stripped(&path, ServerConfig::load(&path, 2));
        assert!(
            error.starts_with("token: missing or empty; put the secret there"),
            "{error}"
        );
        assert_eq!(fs::read_to_string(&path).expect("still there"), text);
        assert_eq!(
            fs::read_dir(directory.path()).expect("a directory").count(),
            1,
            "nothing beside it"
        );
    }
}

#[test]
fn a_token_that_no_header_can_carry_is_refused() {
    let (path, result) = load_text("token: |\n  0123456789abcdef\n");
    let error = stripped(&path, result);
    assert!(
        error.starts_with("token: token contains a line break"),
        "{error}"
    );
}

#[test]
fn a_token_that_no_request_can_carry_is_refused_with_the_limit() {
    let max = qdt_program::Token::MAX_LEN;
    for character in ["a", "~", "\u{ff}"] {
        let fits = character.repeat(max / character.len());
        let (_, result) = load_text(format!("token: \"{fits}\"\n"));
        assert_eq!(
            result
                .expect("it fits")
                .config
                .credentials
                .token
                .as_bytes()
                .len(),
            max
        );
        let (path, result) = load_text(format!("token: \"{fits}b\"\n"));
        let error = stripped(&path, result);
        let expected = format!(
            "token: token is {} bytes long and at most {max} can be presented",
            max + 1
        );
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn more_resolvers_than_a_response_holds_are_refused() {
    let list = |count: usize| vec!["203.0.113.253"; count].join(", ");
    load(&format!("dns: [{}]\n", list(192)));
    let error = error(&format!("dns: [{}]\n", list(193)));
    assert_eq!(
        error,
        "dns: the 193 resolvers take 3088 bytes of an answer, at most 3072 fit; name fewer"
    );
}

#[test]
fn a_short_token_is_a_loud_warning() {
    let (_, result) = load_text("token: fifteen bytes..\n");
    let warnings = result.expect("accepted").warnings;
    assert_eq!(warnings.len(), 1);
    let warning = warnings[0].to_string();
    assert!(
        warning.starts_with("token: WEAK TOKEN: only 15 bytes"),
        "{warning}"
    );
    assert!(load("").warnings.is_empty());
}

#[test]
fn an_invalid_address_is_refused_under_its_key() {
    for key in ["addr", "metrics_addr", "health_addr", "pprof_addr"] {
        let error = error(&format!("{key}: 4433\n"));
        assert!(error.starts_with(&format!(
            "{key}: address 4433: missing port in address; write"
        )));
    }
}

#[test]
fn an_unknown_log_level_is_a_logger_error() {
    let (_, result) = load_text(format!("{TOKEN}log_level: chatty\n"));
    let error = result.expect_err("refused");
    assert_eq!(error.message(), "logger error");
    assert!(
        error
            .to_string()
            .ends_with("log_level: unknown log level \"chatty\"; use debug, info, warn or error")
    );
    assert_eq!(
        load("log_level: WARNING\n").config.log.level,
        LogLevel::Warn
    );
}

#[test]
fn a_name_that_no_interface_can_have_is_refused() {
    for name in ["a-name-of-16-chrs", "a/b", "\"a b\"", "..", "-a", "a;b"] {
        assert!(
            error(&format!("tun_name: {name}\n")).starts_with("tun_name: "),
            "{name}"
        );
    }
    let error = error("nat: {enabled: on, external_iface: \"eth0; rm\"}\n");
    assert!(
        error
            .starts_with("nat.external_iface: \"eth0; rm\" is not an interface name; leave it out")
    );
}

#[test]
fn wrong_types_name_line_key_value_and_what_is_needed() {
    let cases = [
        (
            "mtu: abc\n",
            "line 2: mtu: found !!str `abc` where a whole number without quotes is needed",
        ),
        (
            "log_json: \"true\"\n",
            "line 2: log_json: found !!str `true` where true or false",
        ),
        (
            "session_timeout: 120\n",
            "line 2: session_timeout: found !!int `120` where a duration with a unit",
        ),
        ("nat: []\n", "line 2: nat: found a list where a mapping"),
        (
            "rate_limit: {pps: x}\n",
            "line 2: rate_limit.pps: found !!str `x`",
        ),
        (
            "token: b\n",
            "line 2: token: given twice, first on line 1; remove one",
        ),
    ];
    for (yaml, expected) in cases {
        let error = error(yaml);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn unknown_keys_are_warnings_with_the_nearest_known_one() {
    let warnings = load("pool_cdir: 10.9.0.0/16\nclient_to_clients: true\n").warnings;
    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "line 2: pool_cdir: unknown key, ignored; did you mean pool_cidr?",
            "line 3: client_to_clients: unknown key, ignored; did you mean client_to_client?",
        ]
    );
}

#[test]
fn unreadable_files_say_what_to_do() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = directory.path().join("missing.yaml");
    let error = ServerConfig::load(&missing, 2).expect_err("no file");
    assert!(matches!(&error, ReadError::NotFound(path) if *path == missing));
    assert!(
        error
            .to_string()
            .ends_with("missing.yaml: no such file; name the configuration with -config PATH")
    );
    assert_eq!(error.message(), "config error");

    let path = directory.path();
    let error = stripped(path, ServerConfig::load(path, 2));
    assert!(error.starts_with("cannot be read: "), "{error}");
    assert!(
        error.ends_with("check that the path is a file and that this user may read it"),
        "{error}"
    );

    let (path, result) = load_text(vec![b'#'; (1 << 20) + 1]);
    assert!(stripped(&path, result).starts_with("larger than 1 MiB"));
    let (path, result) = load_text(b"token: a\nmtu: \xff\n");
    assert!(
        stripped(&path, result).starts_with("not UTF-8 text (near line 2); save the file as UTF-8")
    );
}

#[test]
fn a_file_in_utf_16_is_read_as_go_reads_it() {
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let text = format!("\u{feff}{TOKEN}mtu: 1300\n");
        let encoded: Vec<u8> = text.encode_utf16().flat_map(bytes).collect();
        assert_eq!(
            load_text(encoded).1.expect("accepted").config.transport.mtu,
            1300
        );
    }
}

#[test]
fn an_mtu_out_of_bounds_is_clamped_with_a_warning() {
    for (given, used) in [(1, 576), (-5, 576), (575, 576), (70_000, 65_535)] {
        let loaded = load(&format!("mtu: {given}\n"));
        assert_eq!(loaded.config.transport.mtu, used);
        let expected = format!("mtu: {given} is outside 576 to 65535; {used} is used");
        assert_eq!(
            loaded
                .warnings
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            [expected]
        );
    }
    for fine in [576, 1350, 65_535] {
        assert!(load(&format!("mtu: {fine}\n")).warnings.is_empty());
    }
}

#[test]
fn negative_limits_are_off_and_zero_is_the_default() {
    let config =
        load("rate_limit: {pps: -1}\nhandshake_rate: {burst: -1}\nmax_sessions: -3\n").config;
    assert_eq!(config.admission.rate_limit, None);
    assert_eq!(config.admission.handshake_rate, None);
    assert_eq!(
        config.admission.handshake_ip_rate,
        Some(Rate { pps: 20, burst: 40 })
    );
    assert_eq!(config.admission.max_sessions, None);
    let config = load("rate_limit: {pps: 0, burst: 7}\nmax_sessions: 9\n").config;
    assert_eq!(
        config.admission.rate_limit,
        Some(Rate {
            pps: 10_000,
            burst: 7
        })
    );
    assert_eq!(
        config.admission.max_sessions.map(std::num::NonZero::get),
        Some(9)
    );
    let config = load("send_queue: -1\nsend_workers: -1\nsession_timeout: -5s\n").config;
    assert_eq!(
        (config.transport.send_queue, config.transport.send_workers),
        (4096, 2)
    );
    assert_eq!(config.addresses.session_timeout, Duration::ZERO);
}

#[test]
fn counts_out_of_bounds_are_clamped_with_a_warning() {
    let loaded =
        load("send_workers: 1000\nsend_queue: 9999999999\nsend_batch: -1\nsession_shards: -1\n");
    let config = loaded.config;
    assert_eq!(
        (config.transport.send_workers, config.transport.send_queue),
        (128, 1 << 20)
    );
    assert_eq!(
        (config.transport.send_batch, config.admission.session_shards),
        (4, 8)
    );
    assert_eq!(config.transport.send_datagram_queue, 1 << 20);
    let texts: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        texts.contains(&"send_workers: 1000 is outside 1 to 128; 128 is used".to_owned()),
        "{texts:?}"
    );
    assert!(
        texts.contains(&"send_batch: -1 is outside 1 to 1048576; 4 is used".to_owned()),
        "{texts:?}"
    );
}

#[test]
fn more_cpus_than_workers_are_no_warning() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("server.yaml");
    fs::write(&path, TOKEN).expect("a file");
    let loaded = ServerConfig::load(&path, 200).expect("accepted");
    assert_eq!(loaded.config.transport.send_workers, 128);
    assert_eq!(loaded.warnings, []);
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let (path, result) = load_text(TOKEN);
    let config = result.expect("accepted").config;
    let directory = path.parent().expect("a directory");
    assert_eq!(config.transport.addr.to_string(), ":443");
    assert_eq!(config.credentials.tls_cert, directory.join("cert.pem"));
    assert_eq!(config.credentials.tls_key, directory.join("key.pem"));
    assert_eq!(config.credentials.token.as_bytes(), b"0123456789abcdef");
    assert_eq!(
        (config.transport.mtu, config.host.tun_name.as_str()),
        (1350, "qdt0")
    );
    assert_eq!(config.addresses.pool_text, "10.8.0.0/24");
    assert_eq!(config.addresses.gateway.to_string(), "10.8.0.1");
    assert!(config.addresses.dns.is_empty());
    assert_eq!(config.control.metrics_addr.to_string(), ":9100");
    assert_eq!(config.control.health_addr.to_string(), ":9200");
    assert_eq!(config.control.pprof_addr, None);
    assert_eq!((config.log.level, config.log.json), (LogLevel::Info, false));
    assert_eq!(config.addresses.session_timeout, Duration::from_secs(120));
    assert_eq!(config.transport.max_reassembly_bytes, 65_535);
    assert_eq!(config.admission.max_sessions, None);
    assert_eq!(
        config.admission.rate_limit,
        Some(Rate {
            pps: 10_000,
            burst: 20_000
        })
    );
    assert_eq!(
        config.admission.handshake_rate,
        Some(Rate {
            pps: 100,
            burst: 200
        })
    );
    assert_eq!(
        config.admission.handshake_ip_rate,
        Some(Rate { pps: 20, burst: 40 })
    );
    assert_eq!(config.admission.handshake_ip_ttl, Duration::from_secs(60));
    assert_eq!(
        (
            config.transport.send_workers,
            config.admission.session_shards
        ),
        (2, 8)
    );
    assert_eq!(
        (
            config.transport.send_queue,
            config.transport.send_batch,
            config.transport.send_datagram_queue
        ),
        (4096, 4, 4096)
    );
    assert_eq!(config.host.nat, None);
    assert!(!config.host.client_to_client);
}

#[test]
fn given_values_replace_the_defaults() {
    let config = load(
        "tls_cert: a/c.pem\ntls_key: /k.pem\nsend_queue: 100\nnat: {enabled: yes}\nclient_to_client: on\npprof_addr: 127.0.0.1:6060\nmetrics_addr: \"\"\n",
    )
    .config;
    assert_eq!(
        config.credentials.tls_cert,
        Path::new("a/c.pem"),
        "relative to the working directory"
    );
    assert_eq!(config.credentials.tls_key, Path::new("/k.pem"));
    assert_eq!(
        config.transport.send_datagram_queue, 100,
        "its default is send_queue"
    );
    assert_eq!(
        config.host.nat,
        Some(Nat {
            external_iface: None
        })
    );
    assert!(config.host.client_to_client);
    assert_eq!(
        config.control.pprof_addr.expect("on").to_string(),
        "127.0.0.1:6060"
    );
    assert_eq!(
        config.control.metrics_addr.to_string(),
        ":9100",
        "empty means the default"
    );
    let named = load("nat: {enabled: true, external_iface: eth0}\n")
        .config
        .host
        .nat;
    assert_eq!(
        named,
        Some(Nat {
            external_iface: Some("eth0".to_owned())
        })
    );
}

#[test]
fn link_local_addresses_are_allowed_one_by_one() {
    assert!(load("").config.host.forward_link_local.is_empty());
    let config = load("forward_link_local: [169.254.169.254, 169.254.1.2]\n").config;
    assert_eq!(
        config.host.forward_link_local,
        [
            IpAddr::from([169, 254, 169, 254]),
            IpAddr::from([169, 254, 1, 2])
        ]
    );
    for text in ["169.254.0.0/16", "127.0.0.1", "10.0.0.1", "fe80::1", "any"] {
        assert_eq!(
            error(&format!("forward_link_local: [169.254.1.1, \"{text}\"]\n")),
            format!(
                "forward_link_local: \"{text}\" is not an address of 169.254.0.0/16; name single \
                 addresses, for example [169.254.169.254]"
            )
        );
    }
}

#[test]
fn a_secret_stays_out_of_debug_output() {
    let debug = format!("{:?}", load(""));
    assert!(!debug.contains("0123456789abcdef"), "{debug}");
}
