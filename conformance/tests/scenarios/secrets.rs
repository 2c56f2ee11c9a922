//! L9: no secret in logs, arguments, or files that others may read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

use conformance::{Binaries, Client, Config, Lab, Process, Server, Token, wait_until};

use crate::{SECOND, pings};

#[test]
fn l9_the_token_is_in_no_log_and_no_argument_at_the_loudest_level() {
    let lab = Lab::new(1);
    let mut server = Server::start(&lab.server, Config::server().set("log_level", "debug"));
    let mut client = Client::start(&lab.clients[0], Config::client().set("log_level", "debug"));
    assert!(pings(&client));
    for pid in [server.pid(), client.pid()] {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
        assert!(!String::from_utf8_lossy(&arguments).contains(Token::TEXT));
    }
    client.signal(libc::SIGTERM);
    client.wait_for_exit(5 * SECOND);
    server.signal(libc::SIGTERM);
    server.wait_for_exit(5 * SECOND);
    for (who, text) in [
        ("server", server.stdout() + &server.stderr()),
        ("client", client.stdout() + &client.stderr()),
    ] {
        assert!(
            !text.contains(Token::TEXT),
            "the token is in the log of the {who}"
        );
        assert!(!text.contains("BEGIN"), "a key is in the log of the {who}");
        assert!(!text.is_empty(), "the {who} logged something");
    }
}

#[test]
fn l9_a_first_start_writes_its_secrets_for_the_owner_only_and_logs_none() {
    let lab = Lab::new(0);
    let folder = lab.server.folder().join("first");
    fs::create_dir(&folder).expect("the machine's folder is writable");
    let config = folder.join("server.yaml");
    let mut server = Process::start(
        &lab.server,
        "first-start",
        &Binaries::server(),
        &["-config", &config.to_string_lossy()],
    );
    wait_until("the files of a first start", 15 * SECOND, || {
        ["server.yaml", "cert.pem", "key.pem", "client.yaml"]
            .iter()
            .all(|name| folder.join(name).exists())
            && server.ended().is_none()
    });
    server.wait_for_line("client.yaml", 5 * SECOND);
    for (name, mode) in [
        ("server.yaml", 0o600),
        ("cert.pem", 0o644),
        ("key.pem", 0o600),
        ("client.yaml", 0o600),
    ] {
        assert_eq!(mode_of(&folder.join(name)), mode, "{name}");
    }
    let yaml = fs::read_to_string(&config).expect("the server wrote it");
    let token = yaml
        .lines()
        .find_map(|line| line.strip_prefix("token: "))
        .expect("server.yaml has a token")
        .trim_matches('"');
    assert!(token.len() >= 43, "32 random bytes in base64");
    let output = server.stdout() + &server.stderr();
    assert!(!output.contains(token), "the token is in the log");
}

/// A core file would contain the token, the keys and the packets of every client.
#[test]
fn l9_neither_program_leaves_a_core_file_behind_when_it_crashes() {
    let lab = Lab::new(1);
    let mut server = Server::start(&lab.server, Config::server());
    let mut client = Client::start(&lab.clients[0], Config::client());
    for process in [&mut *client, &mut *server] {
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid()));
        let limits = limits.expect("it runs");
        let core = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max core file size"))
            .expect("every process has that limit");
        let bytes: Vec<&str> = core.split_whitespace().take(2).collect();
        // One byte, and no more by any means: no file, and no pipe to a collector (core(5)).
        assert_eq!(bytes, ["1", "1"]);
        process.signal(libc::SIGABRT);
        process.wait_for_exit(5 * SECOND);
        assert!(process.ended().is_some_and(|status| !status.core_dumped()));
    }
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path)
        .expect("the file exists")
        .permissions()
        .mode()
        & 0o777
}
