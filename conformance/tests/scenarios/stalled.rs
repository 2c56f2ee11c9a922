//! Stalled log readers and stalled packet workers.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use conformance::{Client, Config, Lab, Machine, Server, get, ping, wait_until};

use crate::SECOND;

/// A fifo for the log of a machine's program, and its only reader, which waits for nothing.
fn fifo(machine: &Machine) -> (PathBuf, File) {
    let path = machine.folder().join("log");
    machine.run("mkfifo", &[&path.to_string_lossy()]);
    let mut options = File::options();
    let options = options.read(true).write(true);
    let reader = options.custom_flags(libc::O_NONBLOCK).open(&path);
    (path, reader.expect("a fifo can be opened for both"))
}

#[test]
fn a_stalled_log_reader_blocks_nothing_and_then_reads_the_count_of_lost_lines() {
    let lab = Lab::new(1);
    // Full before the server starts: its first line finds no room.
    let (path, mut log) = fifo(&lab.server);
    let mut filled = 0;
    while let Ok(length) = log.write(&[b'.'; 4096]) {
        filled += length;
    }
    // Each reading of the file is as many warnings.
    let config = (0..200).fold(Config::server(), |config, number| {
        config.set(&format!("unknown_key_{number}"), "1")
    });
    let mut server = Server::spawn_with_log(&lab.server, config, &path);
    server.wait_until_ready();
    let client = Client::start(&lab.clients[0], Config::client());
    let dropped = || server.metrics().value("qdt_log_lines_dropped_total");
    wait_until("lines that do not fit", 60 * SECOND, || {
        let answered = ping(&lab.clients[0], Lab::GATEWAY.into(), 56, SECOND);
        assert!(answered.is_some(), "the tunnel stands still with the log");
        server.signal(libc::SIGHUP);
        dropped() > 0.0
    });
    let mut seen = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    wait_until("the line that counts what is missing", 60 * SECOND, || {
        while let Ok(length) = log.read(&mut buffer) {
            seen.extend_from_slice(&buffer[..length]);
        }
        let text = String::from_utf8_lossy(&seen[seen.len().min(filled)..]);
        text.contains("msg=\"log lines dropped\" count=")
    });
    drop(client);
    // The reader has stalled again; the server stops all the same.
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_for_exit(20 * SECOND), 0);
}

#[test]
fn a_closed_log_pipe_loses_lines_and_leaves_the_tunnel_up() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let (path, log) = fifo(&lab.clients[0]);
    let mut client = Client::spawn_with_log(&lab.clients[0], Config::client(), &path);
    client.wait_until_connected();
    drop(log);
    // A line without a reader, and packets after it.
    lab.clients[0].ip("link set qdt0 mtu 1280");
    wait_until("the device is put back", 20 * SECOND, || {
        !lab.clients[0].ip("link show qdt0").contains("mtu 1280")
    });
    let answered = ping(&lab.clients[0], Lab::GATEWAY.into(), 56, 10 * SECOND);
    assert!(answered.is_some(), "the tunnel went away with the log");
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(20 * SECOND), 0);
}

#[test]
fn healthz_is_503_while_a_packet_worker_is_stalled() {
    let lab = Lab::new(0);
    let server = Server::start(&lab.server, Config::server().set("send_workers", "2"));
    let health = || match get(&lab.server, server.metrics_address(), "/healthz") {
        Ok((status, _)) => status,
        Err(error) => panic!("/healthz: {error}"),
    };
    let worker = thread_of(server.pid(), "qdt-worker-1");
    // Idle workers are healthy ones: longer than a stuck one takes to be found.
    let until = Instant::now() + 7 * SECOND;
    wait_until("seven seconds of health", 60 * SECOND, || {
        assert_eq!(health(), 200);
        Instant::now() > until
    });
    let stopped = Stopped::new(worker);
    wait_until("503", 60 * SECOND, || health() == 503);
    drop(stopped);
    wait_until("200", 60 * SECOND, || health() == 200);
    let said = server.stdout();
    for line in ["packet worker stuck", "packet worker turns again"] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}

/// The thread of a process with this name.
fn thread_of(pid: u32, name: &str) -> libc::pid_t {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let named = |task: fs::DirEntry| {
        let comm = fs::read_to_string(task.path().join("comm")).ok()?;
        (comm.trim() == name).then(|| task.file_name().to_string_lossy().parse().ok())?
    };
    let mut found = tasks.flatten().filter_map(named);
    found.next().unwrap_or_else(|| panic!("no thread {name}"))
}

/// A thread that stands still while its process goes on; it runs again when this is dropped.
struct Stopped(libc::pid_t);

impl Stopped {
    fn new(thread: libc::pid_t) -> Self {
        ptrace(libc::PTRACE_SEIZE, thread);
        ptrace(libc::PTRACE_INTERRUPT, thread);
        let mut status = 0;
        // SAFETY: a thread that this one traces, and a place for its status.
        let stopped = unsafe { libc::waitpid(thread, &raw mut status, libc::__WALL) };
        assert_eq!(stopped, thread);
        Self(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        ptrace(libc::PTRACE_DETACH, self.0);
    }
}

fn ptrace(request: libc::c_uint, thread: libc::pid_t) {
    // SAFETY: these requests read and write no memory.
    let done = unsafe { libc::ptrace(request, thread, 0, 0) };
    assert_eq!(done, 0, "ptrace: {}", std::io::Error::last_os_error());
}
