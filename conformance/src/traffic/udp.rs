//! UDP datagrams of chosen sizes to an echo and back.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Machine;

/// How often one size is tried: fragments of a datagram may be lost together.
const TRIES: usize = 5;
const TIMEOUT: Duration = Duration::from_millis(400);

/// Sends everything back that it receives.
#[derive(Debug)]
pub struct UdpEcho {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts an echo on a free port of `address` on `machine`.
    ///
    /// # Panics
    /// When the address is not there.
    #[must_use]
    pub fn start(machine: &Machine, address: IpAddr) -> Self {
        let socket = machine
            .enter(|| UdpSocket::bind(SocketAddr::new(address, 0)))
            .unwrap_or_else(|error| panic!("bind {address} on {}: {error}", machine.name()));
        let bound = socket.local_addr().expect("a bound socket has an address");
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time-out that is not zero");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0_u8; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
            }
        });
        Self {
            address: bound,
            stop,
            thread: Some(thread),
        }
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends a datagram of every size from `client` to an echo at `address` on
/// `server`, and returns the sizes that did not come back byte for byte.
///
/// # Panics
/// When the sockets cannot be had.
#[must_use]
pub fn udp_echo_sizes(
    client: &Machine,
    server: &Machine,
    address: IpAddr,
    sizes: RangeInclusive<usize>,
) -> Vec<usize> {
    let echo = UdpEcho::start(server, address);
    let socket = client
        .enter(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            socket.connect(echo.address())?;
            socket.set_read_timeout(Some(TIMEOUT))?;
            Ok::<_, std::io::Error>(socket)
        })
        .unwrap_or_else(|error| panic!("a UDP socket on {}: {error}", client.name()));
    let mut answer = vec![0_u8; 65_536];
    sizes
        .filter(|size| {
            let payload: Vec<u8> = (0..*size)
                .map(|n| (n.wrapping_mul(31) ^ size) as u8)
                .collect();
            !(0..TRIES).any(|_| {
                if socket.send(&payload).is_err() {
                    return false;
                }
                // A late answer to an earlier size is passed over.
                while let Ok(length) = socket.recv(&mut answer) {
                    if answer[..length] == payload {
                        return true;
                    }
                }
                false
            })
        })
        .collect()
}
