//! Certificates made by hand: what `scripts/gen-cert.sh` makes serves every kind of trust, and so
//! does what the Go project's script of that name made wherever names and authorities do not count.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use conformance::{Client, Config, Lab, Server, ping};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn gen_cert_makes_a_pair_with_a_private_key_and_prints_its_pin() {
    let folder = tempfile::tempdir().unwrap();
    let made = gen_cert(folder.path(), &["vpn.example.org", "192.0.2.2"]);
    assert!(made.status.success(), "{made:?}");
    let mode = |file: &str| {
        fs::metadata(folder.path().join(file))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("cert.pem") & 0o777, 0o644);
    assert_eq!(mode("key.pem") & 0o777, 0o600);
    assert!(pin(&made).starts_with("sha256/"), "{made:?}");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(names.len(), 2, "nothing else is left: {names:?}");
}

#[test]
fn gen_cert_never_overwrites_a_file() {
    for existing in ["cert.pem", "key.pem"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(existing), "precious").unwrap();
        let refused = gen_cert(folder.path(), &[]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(message.contains(existing), "{message}");
        let content = fs::read_to_string(folder.path().join(existing)).unwrap();
        assert_eq!(content, "precious");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn gen_cert_without_arguments_says_how_it_is_used() {
    let refused = Command::new(script()).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        message.starts_with("usage: gen-cert.sh cert.pem key.pem"),
        "{message}"
    );
}

#[test]
fn a_certificate_of_gen_cert_is_trusted_by_pin_by_ca_file_and_under_insecure() {
    let lab = Lab::new(1);
    let folder = lab.server.folder();
    let made = gen_cert(folder, &["192.0.2.2"]);
    assert!(made.status.success(), "{made:?}");
    let _server = Server::start(&lab.server, serving(folder));
    let trusting = Config::client().without("insecure");
    for config in [
        trusting.clone().set("server_pin", &pin(&made)),
        trusting.set("ca_file", &folder.join("cert.pem").to_string_lossy()),
        Config::client(),
    ] {
        connects(&lab, config);
    }
}

#[test]
fn a_certificate_as_the_go_project_made_them_is_trusted_by_pin_and_under_insecure() {
    let lab = Lab::new(1);
    let folder = lab.server.folder();
    // RSA-2048, a common name only, CA:TRUE, which is what openssl makes of these arguments.
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=qdt -keyout {0}/key.pem -out {0}/cert.pem",
        folder.display()
    ));
    let mut server = Server::start(&lab.server, serving(folder));
    let line = server.wait_for_line("server started", SECOND);
    let pin = line
        .split("pin=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let pin = pin.expect("the server tells its pin").to_owned();
    let config = Config::client().without("insecure").set("server_pin", &pin);
    for config in [config, Config::client()] {
        connects(&lab, config);
    }
}

#[test]
fn a_certificate_of_openssl_without_options_is_trusted_where_it_is_itself_in_the_ca_file() {
    let lab = Lab::new(1);
    let folder = lab.server.folder();
    // CA:TRUE, because that is what openssl makes of these arguments.
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=qdt -addext subjectAltName=IP:192.0.2.2 -keyout {0}/key.pem -out {0}/cert.pem",
        folder.display()
    ));
    let _server = Server::start(&lab.server, serving(folder));
    let ca_file = folder.join("cert.pem").to_string_lossy().into_owned();
    connects(
        &lab,
        Config::client()
            .without("insecure")
            .set("ca_file", &ca_file),
    );
}

#[test]
fn a_certificate_of_openssl_without_a_trusted_issuer_is_refused_with_what_to_do() {
    let lab = Lab::new(1);
    let folder = lab.server.folder();
    for (file, name) in [("", "IP:192.0.2.2"), ("other-", "IP:192.0.2.2")] {
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=qdt -addext subjectAltName={name} -keyout {0}/{file}key.pem -out {0}/{file}cert.pem",
            folder.display()
        ));
    }
    let _server = Server::start(&lab.server, serving(folder));
    let ca_file = folder.join("other-cert.pem").to_string_lossy().into_owned();
    let config = Config::client()
        .without("insecure")
        .set("ca_file", &ca_file);
    let mut client = Client::spawn(&lab.clients[0], config);
    let line = client.wait_for_line("the server's certificate", 20 * SECOND);
    assert!(line.contains("CA:TRUE"), "{line}");
    assert!(line.contains("set server_pin"), "{line}");
    assert!(!line.contains("OtherError"), "{line}");
    assert_eq!(client.wait_for_exit(40 * SECOND), 1);
}

#[test]
fn a_certificate_of_version_1_is_refused_at_the_start_with_what_to_do() {
    let lab = Lab::new(0);
    let folder = lab.server.folder();
    // What `openssl x509 -req` makes of a request without extensions.
    openssl(&format!(
        "req -new -newkey rsa:2048 -nodes -subj /CN=qdt -keyout {0}/key.pem -out {0}/request.pem",
        folder.display()
    ));
    openssl(&format!(
        "x509 -req -in {0}/request.pem -signkey {0}/key.pem -days 365 -out {0}/cert.pem",
        folder.display()
    ));
    let mut server = Server::spawn(&lab.server, serving(folder));
    let line = server.wait_for_line("tls_cert", 10 * SECOND);
    assert_eq!(server.wait_for_exit(10 * SECOND), 1);
    for part in ["cert.pem", "X.509 version 1", "scripts/gen-cert.sh"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(
        !line.contains("OtherError") && !line.contains("server_pin"),
        "{line}"
    );
}

/// A server with another key answers first, as an attacker on the path could; then the right one
/// does.
#[test]
fn a_wrong_certificate_does_not_end_a_client_whose_own_server_answers_in_time() {
    let lab = Lab::new(1);
    // Not next to server.yaml, where the other server would mistake them for its own.
    let folder = &lab.server.folder().join("own");
    std::fs::create_dir(folder).expect("the lab's folder is writable");
    let made = gen_cert(folder, &["192.0.2.2"]);
    let wanted = pin(&made);
    let mut rogue = Server::start(&lab.server, Config::server());
    let line = rogue.wait_for_line("server started", SECOND);
    let got = line
        .split("pin=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let got = got.expect("the server tells its pin").to_owned();
    let config = Config::client()
        .without("insecure")
        .set("server_pin", &wanted);
    let mut client = Client::spawn(&lab.clients[0], config);
    let line = client.wait_for_line("wrong certificate", 10 * SECOND);
    assert!(line.contains(&wanted) && line.contains(&got), "{line}");
    rogue.signal(libc::SIGTERM);
    assert_eq!(rogue.wait_for_exit(10 * SECOND), 0);
    let _server = Server::start(&lab.server, serving(folder));
    client.wait_until_connected();
    assert_eq!(client.stdout().matches("wrong certificate").count(), 1);
}

/// Connects with `config`, sends a ping through the tunnel, and stops.
fn connects(lab: &Lab, config: Config) {
    let mut client = Client::start(&lab.clients[0], config);
    assert!(ping(&lab.clients[0], Lab::GATEWAY.into(), 56, SECOND).is_some());
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(5 * SECOND), 0);
}

/// A server with the pair in `folder`.
fn serving(folder: &Path) -> Config {
    Config::server()
        .set("tls_cert", &folder.join("cert.pem").to_string_lossy())
        .set("tls_key", &folder.join("key.pem").to_string_lossy())
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/gen-cert.sh")
}

/// Runs the script for cert.pem and key.pem in `folder`.
fn gen_cert(folder: &Path, names: &[&str]) -> Output {
    Command::new(script())
        .arg(folder.join("cert.pem"))
        .arg(folder.join("key.pem"))
        .args(names)
        .output()
        .expect("the script can be started")
}

/// The pin that the script printed.
fn pin(made: &Output) -> String {
    let text = String::from_utf8_lossy(&made.stdout);
    let pin = text
        .lines()
        .find_map(|line| line.strip_prefix("server_pin: "));
    pin.expect("the pin is printed").to_owned()
}

fn openssl(arguments: &str) {
    let done = Command::new("openssl")
        .args(arguments.split(' '))
        .output()
        .expect("openssl is installed: apt-get install openssl");
    assert!(done.status.success(), "{done:?}");
}
