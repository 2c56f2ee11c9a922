//! A machine of the lab: a network namespace, a folder of its own, and a private view of /run,
//! /var/lib, /sys and /etc for what runs on it. It has no name on the host: when its last file
//! descriptor and its last process are gone, so is the machine. The namespace is made here, or
//! belongs to a container that runs already.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names that every machine of a lab knows: the server's by family.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n\
    192.0.2.2 vpn4.lab vpn.lab\n2001:db8:2::2 vpn6.lab vpn.lab\n";

/// One machine of the lab.
#[derive(Debug)]
pub struct Machine {
    name: String,
    namespace: File,
    folder: PathBuf,
}

impl Machine {
    /// Makes a machine with an empty network (loopback up) and its folder
    /// below `parent`.
    ///
    /// # Panics
    /// When the kernel refuses a namespace or the folder cannot be written.
    #[must_use]
    pub fn new(name: &str, parent: &Path) -> Self {
        let namespace = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    // SAFETY: plain system call; it changes this new thread only.
                    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }, "unshare");
                    File::open("/proc/thread-self/ns/net")
                        .expect("a thread has a network namespace")
                })
                .join()
                .expect("a new network namespace")
        });
        let machine = Self::around(namespace, name, parent);
        machine.ip("link set lo up");
        machine
    }

    /// A machine around the network of a process that runs, as that of a
    /// container: what is started on it shares the network and nothing else.
    /// The network lives at least as long as the machine.
    ///
    /// # Errors
    /// Those of opening `/proc/<pid>/ns/net`: the process has ended, or the
    /// caller may not look at it.
    ///
    /// # Panics
    /// When the folder below `parent` cannot be written.
    pub fn adopt(name: &str, pid: u32, parent: &Path) -> io::Result<Self> {
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        Ok(Self::around(namespace, name, parent))
    }

    fn around(namespace: File, name: &str, parent: &Path) -> Self {
        let folder = parent.join(name);
        for below in ["run", "lib", "etc"] {
            fs::create_dir_all(folder.join(below)).expect("the lab's folder is writable");
        }
        copy_etc(&folder.join("etc"));
        fs::write(
            folder.join("resolv.conf"),
            "# written by the lab\nnameserver 192.0.2.53\n",
        )
        .expect("the lab's folder is writable");
        Self {
            name: name.to_owned(),
            namespace,
            folder,
        }
    }

    /// The machine's name in messages and file names.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder of the machine's own, for configuration and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that programs on this machine see as /etc/resolv.conf.
    #[must_use]
    pub fn resolv_conf(&self) -> PathBuf {
        self.folder.join("resolv.conf")
    }

    /// How an `ip` command on another machine names this namespace, to lay a
    /// cable into it.
    #[must_use]
    pub fn namespace_path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.namespace.as_raw_fd()
        )
    }

    /// Runs `work` on a thread inside the namespace. Sockets it opens belong
    /// to the machine and may be used from any thread afterwards.
    ///
    /// # Panics
    /// When `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespace.as_raw_fd();
        std::thread::scope(|scope| {
            let entered = scope.spawn(move || {
                set_namespace(namespace).expect("the namespace of a live machine can be entered");
                work()
            });
            match entered.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command that will run on this machine.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let namespace = self.namespace.as_raw_fd();
        let binds = [
            (self.folder.join("run"), "/run"),
            (self.folder.join("lib"), "/var/lib"),
            (self.folder.join("etc"), "/etc"),
            // A mount of its own, as an engine gives it to a container: it cannot be renamed over.
            (self.resolv_conf(), "/etc/resolv.conf"),
        ]
        .map(|(from, to)| (c_path(&from), c_path(Path::new(to))));
        // SAFETY: between fork and exec only system calls are made; the strings
        // were allocated before.
        unsafe {
            command.pre_exec(move || {
                // Nothing the lab started outlives it.
                result(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
                // The caller of the tests may ignore it (nohup); programs check that.
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                set_namespace(namespace)?;
                private_view(&binds)
            });
        }
        command.current_dir(&self.folder);
        command
    }

    /// Runs a command to its end and returns what it wrote to stdout.
    ///
    /// # Panics
    /// When it cannot be started or fails; its stderr is shown.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self
            .command(program)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("{program} on {}: {error}", self.name));
        assert!(
            output.status.success(),
            "{program} {arguments:?} on {}: {}\n{}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `ip` with arguments separated by blanks.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        self.run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Feeds a script to `nft -f -`.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn nft(&self, script: &str) {
        let path = self.folder.join("script.nft");
        fs::write(&path, script).expect("the machine's folder is writable");
        self.run("nft", &["-f", &path.to_string_lossy()]);
    }

    /// Sets a value below /proc/sys of this machine.
    ///
    /// # Panics
    /// When there is no such setting.
    #[track_caller]
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&path, value))
            .unwrap_or_else(|error| {
                panic!("{} = {value} on {}: {error}", path.display(), self.name)
            });
    }
}

/// Gives a machine its own /etc, because programs keep files next to those they change: the host's,
/// with the lab's names.
fn copy_etc(to: &Path) {
    let copied = Command::new("cp")
        .args(["-a", "/etc/."])
        .arg(to)
        .output()
        .expect("cp can be started");
    assert!(
        copied.status.success(),
        "/etc cannot be copied: {}",
        String::from_utf8_lossy(&copied.stderr)
    );
    for (name, content) in [("hosts", HOSTS), ("resolv.conf", "")] {
        let path = to.join(name);
        // It may be a link to where the lab must not write.
        let _ = fs::remove_file(&path);
        fs::write(&path, content).expect("the lab's folder is writable");
    }
}

/// Moves the calling thread into a network namespace.
fn set_namespace(namespace: RawFd) -> io::Result<()> {
    // SAFETY: plain system call on a descriptor that the machine keeps open.
    result(unsafe { libc::setns(namespace, libc::CLONE_NEWNET) })
}

/// Gives the calling process (after fork) its own mounts.
fn private_view(binds: &[(CString, CString)]) -> io::Result<()> {
    let none = std::ptr::null();
    // SAFETY: plain system calls; every pointer is null or a live C string.
    unsafe {
        result(libc::unshare(libc::CLONE_NEWNS))?;
        result(libc::mount(
            none,
            c"/".as_ptr(),
            none,
            libc::MS_REC | libc::MS_PRIVATE,
            none.cast(),
        ))?;
        for (from, to) in binds {
            result(libc::mount(
                from.as_ptr(),
                to.as_ptr(),
                none,
                libc::MS_BIND,
                none.cast(),
            ))?;
        }
        // /sys/class/net shows the namespace of the process that mounted it.
        result(libc::mount(
            c"sysfs".as_ptr(),
            c"/sys".as_ptr(),
            c"sysfs".as_ptr(),
            0,
            none.cast(),
        ))
    }
}

fn result(code: libc::c_int) -> io::Result<()> {
    if code < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn check(code: libc::c_int, what: &str) {
    assert!(code >= 0, "{what}: {}", io::Error::last_os_error());
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("paths of the lab hold no zero byte")
}
