//! First starts that are killed after any write, or run concurrently.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use qdt_host::LinuxHost;
use qdt_program::{Loaded, Token, read_config_yaml};
use qdt_server::bootstrap::{Bootstrap, BootstrapError, load_or_create};
use qdt_transport::ServerTls;
use serde::Deserialize;

#[derive(Deserialize)]
struct ClientFile {
    token: Token,
    server_pin: String,
}

/// Names and sizes of the files in a folder, hidden ones included.
fn state(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let size = entry.metadata().map_or(0, |data| data.len());
            (entry.file_name().into_string().unwrap(), size)
        })
        .collect();
    files.sort();
    files
}

/// Starts the server in `folder` and kills it once the folder has changed `changes` times or
/// server.yaml exists, before it changes the host; returns whether server.yaml exists.
fn start_and_kill(folder: &Path, changes: usize) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qdt-server"));
    command
        .arg("-config")
        .arg(folder.join("server.yaml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // SAFETY: only this one system call runs between fork and exec; the child stops at exec.
    unsafe {
        command.pre_exec(|| {
            libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
            Ok(())
        });
    }
    let mut child = command.spawn().unwrap();
    let pid = child.id().cast_signed();
    let (mut seen, mut last) = (0, state(folder));
    let finished = loop {
        let mut status = 0;
        // SAFETY: a child of this thread, and memory for its status.
        let stopped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert!(
            stopped == pid && libc::WIFSTOPPED(status),
            "it exited: {status}"
        );
        let now = state(folder);
        if now != last {
            (seen, last) = (seen + 1, now);
        }
        if folder.join("server.yaml").exists() {
            break true;
        }
        if seen == changes {
            break false;
        }
        // Continues to the next entry or exit of a system call.
        // SAFETY: a stopped child that this thread traces.
        unsafe { libc::ptrace(libc::PTRACE_SYSCALL, pid, 0, 0) };
    };
    child.kill().unwrap();
    child.wait().unwrap();
    finished
}

/// Creates files as the program does.
fn start(folder: &Path) -> Result<Bootstrap, BootstrapError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(load_or_create(
        &LinuxHost::default(),
        &folder.join("server.yaml"),
        2,
    ))
}

#[test]
fn the_next_start_continues_one_killed_after_any_write_and_client_yaml_matches() {
    for changes in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let finished = start_and_kill(folder, changes);
        let cut = state(folder);
        let server = match start(folder) {
            Ok(bootstrap) => bootstrap.loaded.config,
            Err(error) => panic!("{error}\nafter {changes} changes: {cut:?}"),
        };
        let tls =
            ServerTls::load(&server.credentials.tls_cert, &server.credentials.tls_key).unwrap();
        let client = read_config_yaml::<ClientFile>(&folder.join("client.yaml"));
        let Loaded { config: client, .. } = client.unwrap();
        assert!(
            client.token == server.credentials.token,
            "another token after {cut:?}"
        );
        assert_eq!(client.server_pin, tls.pin(), "after {cut:?}");
        let names: Vec<_> = state(folder).into_iter().map(|(name, _)| name).collect();
        let expected = ["cert.pem", "client.yaml", "key.pem", "server.yaml"];
        assert_eq!(names, expected, "after {cut:?}");
        if finished {
            assert!(changes > 8, "only {changes} states were seen");
            return;
        }
    }
}

#[test]
fn leftovers_of_a_process_with_the_same_id_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let id = std::process::id();
    for name in [
        ".key.pem.first-start",
        "cert.pem",
        "client.yaml",
        ".server.yaml.first-start",
    ] {
        fs::write(folder.path().join(format!(".{name}.{id}.tmp")), "half").unwrap();
    }
    start(folder.path()).unwrap();
    assert_eq!(state(folder.path()).len(), 4);
}

#[test]
fn a_later_server_yaml_wins_and_staged_files_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".key.pem.first-start", ".server.yaml.first-start"] {
        fs::write(folder.path().join(name), "token: of-the-start-before\n").unwrap();
    }
    let path = folder.path().join("server.yaml");
    fs::write(&path, "token: 0123456789abcdef\n").unwrap();
    let bootstrap = start(folder.path()).unwrap();
    assert!(bootstrap.loaded.config.credentials.token == Token::new(*b"0123456789abcdef"));
    let names: Vec<_> = state(folder.path())
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["cert.pem", "key.pem", "server.yaml"]);
}

#[test]
fn a_staged_key_is_not_used_with_a_foreign_certificate() {
    let folder = tempfile::tempdir().unwrap();
    start(folder.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    start(other.path()).unwrap();
    fs::remove_file(folder.path().join("key.pem")).unwrap();
    fs::copy(
        other.path().join("key.pem"),
        folder.path().join(".key.pem.first-start"),
    )
    .unwrap();
    let text = start(folder.path()).unwrap_err().to_string();
    assert!(text.contains("key.pem does not exist, but"), "{text}");
    assert!(!folder.path().join("key.pem").exists());
}

#[test]
fn concurrent_starts_create_one_set_of_files() {
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        if round % 2 == 1 {
            // The pair exists; only the two configurations are missing.
            start(folder).unwrap();
            fs::remove_file(folder.join("server.yaml")).unwrap();
            fs::remove_file(folder.join("client.yaml")).unwrap();
        }
        let servers: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..3).map(|_| scope.spawn(|| start(folder))).collect();
            let ended = starts.into_iter().map(|it| it.join().unwrap());
            ended.map(|it| it.unwrap().loaded.config).collect()
        });
        let tls = ServerTls::load(&folder.join("cert.pem"), &folder.join("key.pem")).unwrap();
        let client = read_config_yaml::<ClientFile>(&folder.join("client.yaml"));
        let client = client.unwrap().config;
        assert_eq!(client.server_pin, tls.pin());
        for server in servers {
            assert!(client.token == server.credentials.token, "another token");
        }
        assert_eq!(state(folder).len(), 4, "{:?}", state(folder));
    }
}
