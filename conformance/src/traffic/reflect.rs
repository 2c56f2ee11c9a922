//! A service that tells its clients the address they come from: through the
//! tunnel that is the server's, past it the client's own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Machine;

/// Answers every datagram with the text of its source address.
#[derive(Debug)]
pub struct Reflector {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The port of the reflector.
const PORT: u16 = 7007;

impl Reflector {
    /// Starts on every address of `machine`.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn start(machine: &Machine) -> Self {
        let socket = machine
            .enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))
            .unwrap_or_else(|error| panic!("bind on {}: {error}", machine.name()));
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time-out that is not zero");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0_u8; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(from.ip().to_string().as_bytes(), from);
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks the reflector at `address` under which address it sees `machine`;
/// three tries of one second.
#[must_use]
pub fn reflect(machine: &Machine, address: Ipv4Addr) -> Option<IpAddr> {
    machine.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect(SocketAddr::from((address, PORT))).ok()?;
        socket.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let mut answer = [0_u8; 64];
        (0..3).find_map(|_| {
            socket.send(b"who am I").ok()?;
            let length = socket.recv(&mut answer).ok()?;
            std::str::from_utf8(&answer[..length]).ok()?.parse().ok()
        })
    })
}
