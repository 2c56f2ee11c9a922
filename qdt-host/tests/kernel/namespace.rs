//! Network namespaces for the length of one test, and commands within them.
//!
//! A namespace is held by a descriptor, not by a name: it is gone when the test ends, however it
//! ends. Work is done on a thread that has entered it; what that thread starts (blocking threads of
//! its runtime, commands) is in the same namespace.

use std::{
    fs::File,
    future::Future,
    os::fd::{AsFd, AsRawFd},
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A network namespace with its loopback interface up.
pub(crate) struct Namespace {
    handle: File,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            // SAFETY: a network namespace only; descriptors and memory stay shared as they were.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect(
                "these tests make network namespaces: run them as root (CAP_SYS_ADMIN is missing)",
            );
            File::open("/proc/thread-self/ns/net").expect("/proc is mounted")
        });
        let namespace = Self {
            handle: made.join().expect("a namespace can be made"),
        };
        namespace.sh("ip link set lo up");
        namespace
    }

    /// Runs `work` on a thread in this namespace and returns what it returns.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a namespace");
                work()
            });
            match inside.join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs async `work` in this namespace, on a runtime of its own.
    pub(crate) fn block_on<F: Future>(&self, work: impl FnOnce() -> F + Send) -> F::Output
    where
        F::Output: Send,
    {
        self.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime can be built").block_on(work())
        })
    }

    /// Runs a shell script; it must succeed. Returns what it wrote.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.run(|| {
            let mut shell = Command::new("sh");
            shell
                .args(["-ec", script])
                .stdin(Stdio::null())
                .output()
                .expect("there is a shell")
        });
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "`{script}`: {}: {stderr}",
            output.status
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Puts one end of a new veth pair into `self` and the other into `peer`, both up.
    pub(crate) fn connect(&self, name: &str, peer: &Self, peer_name: &str) {
        let other = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            peer.handle.as_raw_fd()
        );
        self.sh(&format!(
            "ip link add {name} type veth peer name {peer_name} netns {other}
             ip link set {name} up"
        ));
        peer.sh(&format!("ip link set {peer_name} up"));
    }
}

/// Gives this thread, and what it starts, their own mounts: no other process sees them.
pub(crate) fn private_mounts() {
    // SAFETY: a mount namespace only; this thread shares no directory state with others after it.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }
        .expect("these tests make mount namespaces: run them as root (CAP_SYS_ADMIN is missing)");
    mount(&["--make-rprivate", "/"]);
}

/// Hides a program from this thread and from what it starts.
pub(crate) fn hide(program: &str) {
    private_mounts();
    mount(&["--bind", "/dev/null", program]);
}

/// Hides a whole directory in the same way: an empty one stands in its place.
pub(crate) fn hide_directory(directory: &str) {
    private_mounts();
    mount(&["-t", "tmpfs", "none", directory]);
}

/// Calls `mount` with these arguments.
pub(crate) fn mount(arguments: &[&str]) {
    let status = Command::new("mount")
        .args(arguments)
        .status()
        .expect("there is `mount`");
    assert!(status.success(), "mount {arguments:?}: {status}");
}
