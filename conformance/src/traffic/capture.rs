//! Packet captures on an interface: an AF_PACKET socket below the machine's own firewall, read by
//! a thread until the capture is dropped.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::{Machine, wait_for};

/// One packet as it crossed the interface.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Sent by the machine (true) or received by it.
    pub outgoing: bool,
    /// The packet from its network header on.
    pub packet: Vec<u8>,
}

/// A running capture on one interface.
#[derive(Debug)]
pub struct Capture {
    packets: Arc<Mutex<Vec<Captured>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Starts to record what crosses `interface` of `machine` and passes
    /// `wanted`.
    ///
    /// # Panics
    /// When there is no such interface.
    #[must_use]
    #[track_caller]
    pub fn start(
        machine: &Machine,
        interface: &str,
        wanted: impl Fn(&Captured) -> bool + Send + 'static,
    ) -> Self {
        let socket = machine.enter(|| open(interface)).unwrap_or_else(|error| {
            panic!("capture on {interface} of {}: {error}", machine.name())
        });
        let (packets, stop) = (
            Arc::<Mutex<Vec<_>>>::default(),
            Arc::new(AtomicBool::new(false)),
        );
        let (recorded, stopped) = (packets.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0_u8; 128 * 1024];
            while !stopped.load(Ordering::Relaxed) {
                if let Some(captured) = receive(&socket, &mut buffer)
                    && wanted(&captured)
                {
                    recorded.lock().expect("no holder panics").push(captured);
                }
            }
        });
        Self {
            packets,
            stop,
            thread: Some(thread),
        }
    }

    /// What was recorded so far.
    #[must_use]
    pub fn packets(&self) -> Vec<Captured> {
        self.packets
            .lock()
            .map(|packets| packets.clone())
            .unwrap_or_default()
    }

    /// Waits for a packet that `is` right.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn wait_for(
        &self,
        what: &str,
        within: std::time::Duration,
        is: impl Fn(&Captured) -> bool,
    ) -> Captured {
        wait_for(what, within, || self.packets().into_iter().find(&is))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet socket (without link header) bound to one interface of the
/// calling thread's namespace, with a read time-out.
fn open(interface: &str) -> io::Result<OwnedFd> {
    let name = std::ffi::CString::new(interface)?;
    let every = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: plain system calls; name and address outlive them, their sizes are
    // given, and the descriptor is owned at once.
    unsafe {
        let index = libc::if_nametoindex(name.as_ptr());
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let raw = libc::socket(
            libc::AF_PACKET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            i32::from(every),
        );
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(raw);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = every;
        address.sll_ifindex = index.cast_signed();
        let length = size_of_val(&address) as libc::socklen_t;
        let time_out = libc::timeval {
            tv_sec: 0,
            tv_usec: 50_000,
        };
        let buffer: libc::c_int = 16 << 20;
        if libc::bind(raw, (&raw const address).cast(), length) < 0
            || libc::setsockopt(
                raw,
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const time_out).cast(),
                size_of_val(&time_out) as libc::socklen_t,
            ) < 0
            || libc::setsockopt(
                raw,
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const buffer).cast(),
                size_of_val(&buffer) as libc::socklen_t,
            ) < 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }
}

fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<Captured> {
    // SAFETY: buffer and address are live and their sizes are given.
    let (length, address) = unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        let mut size = size_of_val(&address) as libc::socklen_t;
        let length = libc::recvfrom(
            socket.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            0,
            (&raw mut address).cast(),
            &raw mut size,
        );
        (usize::try_from(length).ok()?, address)
    };
    Some(Captured {
        outgoing: address.sll_pkttype == libc::PACKET_OUTGOING,
        packet: buffer[..length].to_vec(),
    })
}
