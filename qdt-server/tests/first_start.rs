//! The files that a first start writes, and those that no start overwrites.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use qdt_program::Token;
use qdt_server::config::ServerConfig;
use qdt_server::first_start::{
    CertificateFiles, FirstStartError, create, ensure_certificate, first_start,
    refuse_second_certificate, stale_client_config,
};
use qdt_transport::CertificateError;
use serde_json::Value;

fn addresses() -> Vec<IpAddr> {
    vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]
}

fn pin(_: &CertificateFiles) -> Result<String, CertificateError> {
    Ok("sha256/PIN".into())
}

fn mode(path: &Path) -> String {
    format!(
        "{:o}",
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    )
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn files(folder: &Path) -> CertificateFiles {
    CertificateFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    }
}

#[test]
fn a_first_start_writes_the_recorded_vector_with_its_modes() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/vectors/bootstrap.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.yaml");
    // The recording is from a machine with two CPUs.
    first_start(&path, 2, &addresses(), pin).unwrap();
    let written = fs::read_to_string(&path).unwrap();
    let token = written
        .lines()
        .find_map(|line| line.strip_prefix("token: "))
        .unwrap();
    assert_eq!(token.len(), 43, "32 bytes in unpadded base64");
    let expected = vectors["cases"]["server_yaml"]
        .as_str()
        .unwrap()
        .replace("DIR", folder.path().to_str().unwrap())
        .replace("TOKEN", token)
        // Unlike in Go, a new server does not limit its sessions.
        .replace(
            "rate_limit:\n    pps: 10000\n",
            "rate_limit:\n    pps: -1\n",
        );
    assert_eq!(written, expected);
    for (name, expected) in vectors["cases"]["modes"].as_object().unwrap() {
        assert_eq!(
            mode(&folder.path().join(name)),
            expected.as_str().unwrap(),
            "{name}"
        );
    }
}

#[test]
fn its_client_yaml_holds_what_a_client_needs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.yaml");
    let made = first_start(&path, 2, &addresses(), pin).unwrap();
    let client = folder.path().join("client.yaml");
    assert_eq!(made.client_config.as_deref(), Some(client.as_path()));
    assert_eq!(mode(&client), "600");
    let text = fs::read_to_string(&client).unwrap();
    let server = ServerConfig::load(&path, 2).unwrap().config;
    let token = String::from_utf8(server.credentials.token.as_bytes().to_vec()).unwrap();
    for line in [
        "server: \"192.0.2.7:443\"",
        "server_pin: \"sha256/PIN\"",
        &format!("token: \"{token}\""),
    ] {
        assert!(
            text.lines().any(|written| written == line),
            "{line} is not in\n{text}"
        );
    }
    assert_eq!(
        names(folder.path()),
        ["cert.pem", "client.yaml", "key.pem", "server.yaml"]
    );
}

#[test]
fn each_first_start_has_its_own_token_and_key() {
    let made = || {
        let folder = tempfile::tempdir().unwrap();
        first_start(&folder.path().join("server.yaml"), 2, &[], pin).unwrap();
        let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
        let yaml = read("server.yaml");
        let token = yaml
            .lines()
            .find(|line| line.starts_with("token: "))
            .unwrap()
            .to_owned();
        (token, read("key.pem"))
    };
    let (one, two) = (made(), made());
    assert_ne!(one.0, two.0);
    assert_ne!(one.1, two.1);
}

#[test]
fn existing_files_are_kept_and_used() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["cert.pem", "key.pem", "client.yaml"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let path = folder.path().join("server.yaml");
    let made = first_start(&path, 2, &addresses(), pin).unwrap();
    assert_eq!(made.client_config, None);
    for name in ["cert.pem", "key.pem", "client.yaml"] {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
    }
}

#[test]
fn an_incomplete_pair_is_an_error_that_names_both_files_and_writes_nothing() {
    for (present, missing) in [("cert.pem", "key.pem"), ("key.pem", "cert.pem")] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(present), "kept").unwrap();
        let path = folder.path().join("server.yaml");
        let error = first_start(&path, 2, &addresses(), pin).unwrap_err();
        assert!(
            matches!(error, FirstStartError::IncompletePair { .. }),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains(present) && text.contains(missing), "{text}");
        assert_eq!(names(folder.path()), [present]);
    }
}

#[test]
fn an_existing_pair_is_kept_and_a_missing_one_created() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    assert!(ensure_certificate(&files, &addresses()).unwrap());
    let before = (
        fs::metadata(&files.key).unwrap().ino(),
        fs::read(&files.key).unwrap(),
    );
    assert!(!ensure_certificate(&files, &addresses()).unwrap());
    let after = (
        fs::metadata(&files.key).unwrap().ino(),
        fs::read(&files.key).unwrap(),
    );
    assert_eq!(before, after);
}

#[test]
fn a_missing_folder_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nowhere/server.yaml");
    let text = first_start(&path, 2, &addresses(), pin)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("nowhere/key.pem: cannot be created"),
        "{text}"
    );
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_unusable_certificate_leaves_no_server_yaml() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.yaml");
    let unusable = |files: &CertificateFiles| {
        Err(CertificateError::Malformed {
            what: "tls_cert",
            path: files.certificate.clone(),
            problem: "no PEM".into(),
        })
    };
    let error = first_start(&path, 2, &[], unusable).unwrap_err();
    assert!(error.to_string().ends_with("cert.pem: no PEM"), "{error}");
    assert!(!path.exists());
}

#[test]
fn a_new_file_never_replaces_another_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "first").unwrap();
    let error = create(&path, b"second", 0o600).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    assert_eq!(names(folder.path()), ["file"]);
    create(&folder.path().join("open"), b"x", 0o644).unwrap();
    assert_eq!(mode(&folder.path().join("open")), "644");
}

#[test]
fn a_generated_client_yaml_that_no_longer_matches_is_stale() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.yaml");
    first_start(&path, 2, &addresses(), pin).unwrap();
    let token = ServerConfig::load(&path, 2)
        .unwrap()
        .config
        .credentials
        .token;
    let client = folder.path().join("client.yaml");
    let stale = |token: &Token, pin| stale_client_config(&path, token, pin);
    assert_eq!(stale(&token, "sha256/PIN"), None);
    assert_eq!(stale(&token, "sha256/OTHER"), Some(client.clone()));
    assert_eq!(
        stale(&Token::new(*b"a-new-token-of-mine"), "sha256/PIN"),
        Some(client.clone())
    );
    // A user's file for another server is never stale.
    fs::write(
        &client,
        "server: vpn.example.org:443\ntoken: another-token-of-mine\n",
    )
    .unwrap();
    assert_eq!(stale(&token, "sha256/PIN"), None);
    fs::remove_file(&client).unwrap();
    assert_eq!(stale(&token, "sha256/PIN"), None);
}

#[test]
fn a_relative_certificate_next_to_the_configuration_is_not_created_again_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.yaml");
    let relative = files(Path::new(""));
    refuse_second_certificate(&path, &relative).unwrap();
    fs::write(folder.path().join("cert.pem"), "a certificate").unwrap();
    let text = refuse_second_certificate(&path, &relative).unwrap_err();
    let text = text.to_string();
    let found = folder.path().join("cert.pem");
    assert!(
        text.contains("tls_cert cert.pem: is not in the working directory"),
        "{text}"
    );
    assert!(text.contains(&found.display().to_string()), "{text}");
}
