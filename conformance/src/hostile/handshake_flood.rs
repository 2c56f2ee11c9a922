//! One host that starts very many handshakes and completes none.
//!
//! It does prove its address: every Retry is answered with the token in it. It does not know the
//! server's token, so none of its connections ever gets a session.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Initials;
use crate::Machine;

/// Handshakes are begun in bursts, one each time this has passed; between them Retries are
/// answered.
const BETWEEN_BURSTS: Duration = Duration::from_millis(4);

/// A flood that goes on until it is stopped.
#[derive(Debug)]
pub struct HandshakeFlood {
    stop: Arc<AtomicBool>,
    begun: Arc<AtomicU64>,
    thread: Option<JoinHandle<FloodResult>>,
}

/// What a flood did.
#[derive(Debug, Clone, Copy)]
pub struct FloodResult {
    /// Handshakes begun.
    pub begun: u64,
    /// Those for which the server wanted the address proven, and got the proof.
    pub proven: u64,
    /// How long it took.
    pub lasted: Duration,
}

impl HandshakeFlood {
    /// Begins `per_second` handshakes a second from one socket on `machine`, or as many as the
    /// machine can.
    ///
    /// # Panics
    /// When no socket can be had.
    #[must_use]
    #[track_caller]
    pub fn start(machine: &Machine, server: SocketAddr, per_second: u32) -> Self {
        let socket = machine
            .enter(|| {
                let socket = UdpSocket::bind(("0.0.0.0", 0))?;
                socket.connect(server)?;
                Ok::<_, io::Error>(socket)
            })
            .expect("a UDP socket");
        let (stop, begun) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, count) = (stop.clone(), begun.clone());
        let thread = std::thread::spawn(move || flood(&socket, per_second, &stopped, &count));
        Self {
            stop,
            begun,
            thread: Some(thread),
        }
    }

    /// Handshakes begun so far.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Ends the flood.
    ///
    /// # Panics
    /// When its thread did.
    #[must_use]
    pub fn stop(mut self) -> FloodResult {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("a flood does not panic")
    }
}

impl Drop for HandshakeFlood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn flood(socket: &UdpSocket, per_second: u32, stop: &AtomicBool, count: &AtomicU64) -> FloodResult {
    let mut initials = Initials::new(1);
    let start = Instant::now();
    let mut next = start;
    let (mut begun, mut proven) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        // Who has fallen behind does not make up for it.
        next = (next + BETWEEN_BURSTS).max(Instant::now());
        for _ in 0..per_second * BETWEEN_BURSTS.as_millis() as u32 / 1000 {
            let _ = socket.send(&initials.decryptable());
            begun += 1;
        }
        count.store(begun, Ordering::Relaxed);
        while let Some(answer) = receive(socket, next) {
            if let Some(packet) = initials.after_retry(&answer) {
                let _ = socket.send(&packet);
                proven += 1;
            }
        }
    }
    FloodResult {
        begun,
        proven,
        lasted: start.elapsed(),
    }
}

/// The next packet that arrives before the deadline.
fn receive(socket: &UdpSocket, deadline: Instant) -> Option<Vec<u8>> {
    let mut packet = vec![0; 2048];
    loop {
        let left = deadline.checked_duration_since(Instant::now())?;
        socket
            .set_read_timeout(Some(left.max(Duration::from_micros(1))))
            .ok()?;
        // An error is the deadline, or ICMP for an earlier packet.
        if let Ok(len) = socket.recv(&mut packet) {
            packet.truncate(len);
            return Some(packet);
        }
    }
}
