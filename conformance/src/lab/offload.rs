//! The kernel's batching of datagrams (GSO, GRO), switched on and off for a test.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::machine::Machine;
use super::process::Process;

impl Machine {
    /// Switches features of an interface, `ethtool -K` with arguments separated by blanks.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn features(&self, interface: &str, arguments: &str) {
        let words = ["-K", interface]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect::<Vec<_>>();
        self.run("ethtool", &words);
    }

    /// Has the interface merge what arrives within 300 microseconds of one sender (GRO), as a busy
    /// network card does.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn enable_gro(&self, interface: &str) {
        self.features(interface, "gro on");
        let path = format!("/sys/class/net/{interface}/gro_flush_timeout");
        self.run("sh", &["-c", &format!("echo 300000 > {path}")]);
    }
}

impl Process {
    /// Has the kernel refuse segmented sends on the UDP sockets of the process, and nothing else,
    /// or take them again: segments need checksums (SO_NO_CHECK, socket(7)). So does a device
    /// without them on kernels before 6.11.
    ///
    /// # Panics
    /// When the process has ended or has no UDP socket.
    #[track_caller]
    pub fn refuse_segmentation(&self, refuse: bool) {
        let sockets = self.udp_sockets().expect("a running process");
        assert!(!sockets.is_empty(), "the process has a UDP socket");
        let value = libc::c_int::from(refuse);
        for socket in sockets {
            // SAFETY: the value outlives the call and its size is given.
            let code = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_NO_CHECK,
                    (&raw const value).cast(),
                    size_of_val(&value) as libc::socklen_t,
                )
            };
            assert!(code == 0, "SO_NO_CHECK: {}", io::Error::last_os_error());
        }
    }

    /// The process' own UDP sockets (pidfd_getfd(2)).
    fn udp_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        let owned = |code: libc::c_long| match i32::try_from(code) {
            // SAFETY: what the calls below return is a new descriptor without another owner.
            Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            _ => Err(io::Error::last_os_error()),
        };
        // SAFETY: a plain system call.
        let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid(), 0) })?;
        let mut sockets = Vec::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.pid()))? {
            let entry = entry?;
            let is_socket = fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
            let Some(number) = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<i32>().ok())
            else {
                continue;
            };
            if !is_socket {
                continue;
            }
            // SAFETY: a plain system call.
            let socket = owned(unsafe {
                libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0)
            })?;
            let protocol = socket2::SockRef::from(&socket).protocol()?;
            if protocol == Some(socket2::Protocol::UDP) {
                sockets.push(socket);
            }
        }
        Ok(sockets)
    }
}
