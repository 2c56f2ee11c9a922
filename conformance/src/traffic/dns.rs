//! The least of DNS (RFC 1035): a responder that knows one answer, and a
//! query for an A record.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Machine;

/// Answers every A query with the same address, other queries with none, and
/// records who asked.
#[derive(Debug)]
pub struct DnsResponder {
    address: Arc<Mutex<Ipv4Addr>>,
    askers: Arc<Mutex<Vec<IpAddr>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DnsResponder {
    /// The address in every answer, until [`DnsResponder::set_answer`].
    pub const ANSWER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    /// Starts on port 53 of every IPv4 address of `machine`.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn start(machine: &Machine) -> Self {
        let socket = machine
            .enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)))
            .unwrap_or_else(|error| panic!("bind port 53 on {}: {error}", machine.name()));
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time-out that is not zero");
        let (askers, stop) = (
            Arc::<Mutex<Vec<_>>>::default(),
            Arc::new(AtomicBool::new(false)),
        );
        let (recorded, stopped) = (askers.clone(), stop.clone());
        let address = Arc::new(Mutex::new(Self::ANSWER));
        let answered = address.clone();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0_u8; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let address = *answered.lock().expect("no holder panics");
                if let Some(answer) = answer(&buffer[..length], address) {
                    recorded.lock().expect("no holder panics").push(from.ip());
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Self {
            address,
            askers,
            stop,
            thread: Some(thread),
        }
    }

    /// Puts another address into every answer from now on.
    ///
    /// # Panics
    /// When the responder did.
    pub fn set_answer(&self, address: Ipv4Addr) {
        *self.address.lock().expect("no holder panics") = address;
    }

    /// Who has asked so far, in order.
    #[must_use]
    pub fn askers(&self) -> Vec<IpAddr> {
        self.askers
            .lock()
            .map(|askers| askers.clone())
            .unwrap_or_default()
    }
}

impl Drop for DnsResponder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks `server` for the A record of `name` from `machine`; three tries of one
/// second.
///
/// # Errors
/// Those of the socket, and `InvalidData` for an answer that is none.
pub fn dns_query(machine: &Machine, server: Ipv4Addr, name: &str) -> io::Result<Ipv4Addr> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let socket = machine.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    socket.connect(SocketAddr::from((server, 53)))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut buffer = [0_u8; 512];
    let mut last = None;
    for _ in 0..3 {
        match socket.send(&query).and_then(|_| socket.recv(&mut buffer)) {
            Ok(length) if length >= query.len() + 16 && buffer[..2] == query[..2] => {
                let address: [u8; 4] = buffer[length - 4..length].try_into().expect("four bytes");
                return Ok(address.into());
            }
            Ok(_) => {
                last = Some(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "no answer to the query",
                ))
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
}

/// The answer to a query with one question: the question, then one A record
/// where that was asked for.
fn answer(query: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let header = query.get(..12)?;
    let end = 12 + query.get(12..)?.iter().position(|byte| *byte == 0)? + 5;
    let question = query.get(12..end)?;
    let is_a = question[question.len() - 4..question.len() - 2] == [0, 1];
    let mut answer = header[..2].to_vec();
    answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend_from_slice(question);
    if is_a {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(&address.octets());
    }
    Some(answer)
}
