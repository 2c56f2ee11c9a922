//! Echo requests on raw sockets: single ones, and a steady stream whose
//! answers are recorded with their times.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Machine, wait_for};

/// Identifiers of the echo requests of this process.
static NEXT_IDENTIFIER: AtomicU16 = AtomicU16::new(1);

/// Sends one echo request with `size` payload bytes and returns the round-trip
/// time of the answer, if it comes `within` that time and holds the payload.
#[must_use]
pub fn ping(machine: &Machine, target: IpAddr, size: usize, within: Duration) -> Option<Duration> {
    let echo = Echo::open(machine, target).ok()?;
    echo.once(size, within)
}

/// As [`ping`], with Don't Fragment set: an error where the local path MTU is
/// exceeded, `Ok(None)` where no answer came.
///
/// # Errors
/// `EMSGSIZE` where the kernel knows that the packet does not fit.
pub fn ping_df(
    machine: &Machine,
    target: IpAddr,
    size: usize,
    within: Duration,
) -> io::Result<Option<Duration>> {
    let echo = Echo::open(machine, target)?;
    echo.dont_fragment()?;
    let sent = Instant::now();
    echo.send(1, size)?;
    Ok(echo
        .receive(sent + within)
        .filter(|(_, length)| *length == size)
        .map(|_| sent.elapsed()))
}

/// A raw ICMP socket with an identifier of its own.
struct Echo {
    socket: Socket,
    target: SocketAddr,
    identifier: u16,
}

impl Echo {
    fn open(machine: &Machine, target: IpAddr) -> io::Result<Self> {
        let (domain, protocol) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = machine.enter(|| Socket::new(domain, Type::RAW, Some(protocol)))?;
        let target = SocketAddr::new(target, 0);
        socket.connect(&target.into())?;
        let identifier =
            NEXT_IDENTIFIER.fetch_add(1, Ordering::Relaxed) ^ (std::process::id() as u16);
        Ok(Self {
            socket,
            target,
            identifier,
        })
    }

    fn dont_fragment(&self) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let value: libc::c_int = libc::IP_PMTUDISC_DO;
        // SAFETY: the value outlives the call and its size is given.
        let code = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                (&raw const value).cast(),
                size_of_val(&value) as libc::socklen_t,
            )
        };
        if code < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn once(&self, size: usize, within: Duration) -> Option<Duration> {
        let sent = Instant::now();
        self.send(1, size).ok()?;
        let (_, length) = self.receive(sent + within)?;
        (length == size).then(|| sent.elapsed())
    }

    fn send(&self, sequence: u16, size: usize) -> io::Result<()> {
        let kind = if self.target.is_ipv4() { 8 } else { 128 };
        let mut message = vec![kind, 0, 0, 0];
        message.extend_from_slice(&self.identifier.to_be_bytes());
        message.extend_from_slice(&sequence.to_be_bytes());
        message.extend((0..size).map(|n| n as u8));
        if self.target.is_ipv4() {
            // The kernel fills in the checksum for ICMPv6 only.
            let sum = checksum(&message).to_be_bytes();
            message[2..4].copy_from_slice(&sum);
        }
        self.socket.send(&message).map(|_| ())
    }

    /// The next answer to one of this socket's requests: sequence number and payload length (0
    /// where the payload is not ours).
    fn receive(&self, deadline: Instant) -> Option<(u16, usize)> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 65_536];
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))
                .ok()?;
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            // SAFETY: recv has written that many bytes.
            let packet =
                unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<u8>(), length) };
            let (message, reply) = if self.target.is_ipv4() {
                let header = usize::from(packet.first()? & 0x0f) * 4;
                (packet.get(header..)?, 0)
            } else {
                (packet, 129)
            };
            if message.len() < 8
                || message[0] != reply
                || message[4..6] != self.identifier.to_be_bytes()
            {
                continue;
            }
            let payload = &message[8..];
            let ours = payload.iter().enumerate().all(|(n, byte)| *byte == n as u8);
            let sequence = u16::from_be_bytes([message[6], message[7]]);
            return Some((sequence, if ours { payload.len() } else { 0 }));
        }
    }
}

/// One answered echo request of a [`Pinger`].
#[derive(Debug, Clone, Copy)]
pub struct PingReply {
    /// Number of the request, from 0.
    pub number: u16,
    /// When the answer came.
    pub at: Instant,
    /// Its round-trip time.
    pub rtt: Duration,
}

/// A steady stream of echo requests (56 bytes each) from a machine.
#[derive(Debug)]
pub struct Pinger {
    replies: Arc<Mutex<Vec<PingReply>>>,
    sent: Arc<Mutex<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pinger {
    /// Starts to send to `target` every `interval`.
    ///
    /// # Panics
    /// When no raw socket can be had.
    #[must_use]
    pub fn start(machine: &Machine, target: IpAddr, interval: Duration) -> Self {
        let echo = Echo::open(machine, target).expect("a raw socket (root)");
        let replies = Arc::<Mutex<Vec<PingReply>>>::default();
        let sent = Arc::<Mutex<Vec<Instant>>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let mut pinger = Self {
            replies: replies.clone(),
            sent: sent.clone(),
            stop: stop.clone(),
            thread: None,
        };
        pinger.thread = Some(std::thread::spawn(move || {
            let mut next = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let number = {
                    let mut sent = sent.lock().expect("no holder panics");
                    sent.push(Instant::now());
                    (sent.len() - 1) as u16
                };
                // Without a route there is no answer either: that is what the
                // record shows.
                let _ = echo.send(number, 56);
                next += interval;
                while let Some((number, 56)) = echo.receive(next) {
                    let at = Instant::now();
                    let Some(started) = sent
                        .lock()
                        .expect("no holder panics")
                        .get(usize::from(number))
                        .copied()
                    else {
                        continue;
                    };
                    replies.lock().expect("no holder panics").push(PingReply {
                        number,
                        at,
                        rtt: at - started,
                    });
                }
            }
        }));
        pinger
    }

    /// All answers so far, in order of arrival.
    #[must_use]
    pub fn replies(&self) -> Vec<PingReply> {
        self.replies
            .lock()
            .map(|replies| replies.clone())
            .unwrap_or_default()
    }

    /// The number of requests sent so far.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.lock().map_or(0, |sent| sent.len())
    }

    /// Waits for an answer to a request that was sent after `start`.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn wait_for_reply_after(&self, start: Instant, within: Duration) -> PingReply {
        wait_for("an answered ping", within, || {
            self.replies()
                .into_iter()
                .find(|reply| reply.at - reply.rtt > start)
        })
    }

    /// Stops and returns the requests sent and the answers.
    #[must_use]
    pub fn stop(mut self) -> (usize, Vec<PingReply>) {
        self.halt();
        (self.sent(), self.replies())
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.halt();
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(data: &[u8]) -> u16 {
    let mut sum: u32 = data
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
