//! One UDP socket with large buffers, GRO and GSO.
//!
//! Invariants: the socket never blocks; send errors are returned and never close it, because a
//! network that is away comes back (promise A22); answers outside connections do not change how
//! connections send.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use qdt_host::Outside;
use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::datagrams::{DatagramPort, Received, SendError};
use super::segmentation::Segmentation;
use super::steering;
use crate::arena::Arena;
use crate::counters::WorkerCounters;

/// Requested socket buffer: a burst of some milliseconds at 10 Gbit/s.
const SOCKET_BUFFER: usize = 8 << 20;
/// Buffers per receive call; each may hold a GRO batch.
pub(crate) const RECEIVE_BUFFERS: usize = 8;
/// The largest GRO batch: the maximum UDP payload.
const MAX_BATCH: usize = 65_535;
/// Each receive arena holds several batches, so that it seldom starts over.
const RECEIVE_ARENA: usize = 4 * (MAX_BATCH + 1);

/// Why a UDP socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program listens on this port.
    #[error("addr {0}: another program listens on this UDP port; stop it or choose another `addr`")]
    InUse(SocketAddr),
    /// The system refused.
    #[error("addr {addr}: cannot {action}: {source}")]
    System {
        /// The requested address.
        addr: SocketAddr,
        /// The refused action.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// A bound socket with its receive buffers.
#[derive(Debug)]
pub(crate) struct UdpPort {
    socket: Socket,
    /// Sends and receives. Its GSO limit is read once, because it takes any EINVAL or EIO, even of
    /// a single datagram to an impossible address, for the permanent end of GSO.
    state: UdpSocketState,
    segmentation: Segmentation,
    buffers: [Arena; RECEIVE_BUFFERS],
    local: SocketAddr,
}

impl UdpPort {
    fn new(socket: Socket, addr: SocketAddr, refused: Arc<AtomicUsize>) -> Result<Self, BindError> {
        let system = |action| {
            move |source| BindError::System {
                addr,
                action,
                source,
            }
        };
        let state =
            UdpSocketState::new((&socket).into()).map_err(system("prepare the UDP socket"))?;
        enlarge(&socket, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF);
        enlarge(&socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF);
        let local = socket
            .local_addr()
            .map_err(system("read back the bound address"))?
            .as_socket()
            .unwrap_or(addr);
        let segmentation = Segmentation::new(state.max_gso_segments(), refused);
        Ok(Self {
            socket,
            state,
            segmentation,
            buffers: std::array::from_fn(|_| Arena::new(RECEIVE_ARENA)),
            local,
        })
    }

    /// Returns the bound address.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl DatagramPort for UdpPort {
    fn max_segments(&self, now: Instant) -> usize {
        self.segmentation.segments(now)
    }

    fn address_for(&self, addr: SocketAddr) -> SocketAddr {
        match (self.local, addr) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            _ => addr,
        }
    }

    fn receive(&mut self, mut each: impl FnMut(Received)) -> io::Result<()> {
        let mut meta = [RecvMeta::default(); RECEIVE_BUFFERS];
        let count = {
            let mut slices = self.buffers.each_mut().map(|arena| {
                arena.rewind();
                let space = arena.space(MAX_BATCH);
                IoSliceMut::new(&mut space[..MAX_BATCH])
            });
            self.state
                .recv((&self.socket).into(), &mut slices, &mut meta)?
        };
        for (arena, meta) in self.buffers.iter_mut().zip(&meta[..count]) {
            each(Received {
                from: meta.addr,
                local_ip: meta.dst_ip,
                ecn: meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8)),
                stride: meta.stride.max(1),
                // Data that a peer makes QUIC keep (streams with gaps) must not pin the datagrams
                // of others.
                batch: arena.take_or_copy(meta.len),
            });
        }
        Ok(())
    }

    fn send(
        &mut self,
        now: Instant,
        transmit: &Transmit,
        contents: &[u8],
        counters: &WorkerCounters,
    ) -> Result<(), SendError> {
        let contents = &contents[..transmit.size];
        let not_sent = |error| SendError { error, sent: 0 };
        let Some(segment) = transmit.segment_size.filter(|len| *len < contents.len()) else {
            self.call(transmit, contents, None).map_err(not_sent)?;
            counters.udp_written(1);
            return Ok(());
        };
        let mut refusal = None;
        if self.segmentation.segments(now) > 1 {
            match self.call(transmit, contents, Some(segment)) {
                Ok(()) => {
                    counters.udp_written(contents.len().div_ceil(segment));
                    if self.segmentation.worked(now) {
                        counters.segmentation_off(false);
                    }
                    return Ok(());
                }
                Err(error) if Segmentation::may_be_refusal(&error) => refusal = Some(error),
                Err(error) => return Err(not_sent(error)),
            }
        }
        let mut sent = 0;
        for datagram in contents.chunks(segment) {
            self.call(transmit, datagram, None)
                .map_err(|error| SendError { error, sent })?;
            if let Some(error) = refusal.take() {
                self.segmentation.was_refused(now, &error);
                counters.segmentation_off(true);
            }
            counters.udp_written(1);
            sent += datagram.len();
        }
        Ok(())
    }

    fn answer(&self, transmit: &Transmit, contents: &[u8]) {
        let _ = self.call(transmit, &contents[..transmit.size], None);
    }
}

impl UdpPort {
    /// Makes one system call. The tunnel's packets are Not-ECT: RFC 9484 section 9 leaves the
    /// congestion control of tunnelled traffic to the inner connections.
    fn call(
        &self,
        transmit: &Transmit,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        self.state.try_send(
            (&self.socket).into(),
            &quinn_udp::Transmit {
                destination: transmit.destination,
                ecn: None,
                contents,
                segment_size,
                src_ip: transmit.src_ip,
            },
        )
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Returns whether the system refused a datagram because of its size.
pub(crate) fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// Requests a large buffer, above the system's limit where permitted.
fn enlarge(socket: &Socket, force: libc::c_int, polite: libc::c_int) {
    let size = SOCKET_BUFFER as libc::c_int;
    for option in [force, polite] {
        // SAFETY: the descriptor is open for the call, and the option's value is a `c_int` of the
        // given length.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const size).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result == 0 {
            return;
        }
    }
}

fn open(addr: SocketAddr, shared: bool) -> Result<Socket, BindError> {
    let system = |action| {
        move |source| BindError::System {
            addr,
            action,
            source,
        }
    };
    let domain = Domain::for_address(addr);
    let socket = Socket::new(domain, Type::DGRAM.cloexec(), Some(Protocol::UDP))
        .map_err(system("open a UDP socket"))?;
    if addr.is_ipv6() {
        socket
            .set_only_v6(!addr.ip().is_unspecified())
            .map_err(system("make the socket dual-stack"))?;
    }
    if shared {
        socket
            .set_reuse_port(true)
            .map_err(system("share the port between workers"))?;
    }
    socket
        .bind(&SockAddr::from(addr))
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(addr),
            _ => BindError::System {
                addr,
                action: "bind",
                source,
            },
        })?;
    Ok(socket)
}

/// Binds the sockets of `workers` server workers to one address, steered by connection id.
///
/// # Errors
/// The address is in use (also by a program that shares ports), not local, or needs a privilege.
pub(crate) fn bind_server(addr: SocketAddr, workers: usize) -> Result<Vec<UdpPort>, BindError> {
    // Binding without SO_REUSEPORT fails if any other program has the port, even one that shares
    // it.
    let alone = open(addr, false)?;
    if workers == 1 {
        return Ok(vec![UdpPort::new(alone, addr, Arc::default())?]);
    }
    let bound = alone
        .local_addr()
        .ok()
        .and_then(|addr| addr.as_socket())
        .unwrap_or(addr);
    drop(alone);
    let mut ports = Vec::with_capacity(workers);
    let refused = Arc::<AtomicUsize>::default();
    for _ in 0..workers {
        ports.push(UdpPort::new(open(bound, true)?, bound, refused.clone())?);
    }
    steering::attach(ports[0].socket.as_fd(), workers).map_err(|source| BindError::System {
        addr,
        action: "steer packets by connection id",
        source,
    })?;
    Ok(ports)
}

/// Binds a client's socket: any port, dual-stack where the kernel has IPv6, with its packets kept
/// `outside` the tunnel.
///
/// # Errors
/// The system refused the socket or the way to keep it outside (a mark needs `CAP_NET_ADMIN`).
pub(crate) fn bind_client(outside: Option<Outside>) -> Result<UdpPort, BindError> {
    let any6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let any4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let (socket, addr) = match open(any6, false) {
        Ok(socket) => (socket, any6),
        Err(_) => (open(any4, false)?, any4),
    };
    if let Some(outside) = outside {
        let action = match outside {
            Outside::Mark(_) => "mark the socket's packets (needs CAP_NET_ADMIN)",
            Outside::Interface(_) => "bind the socket to its interface",
        };
        let refused = |source| BindError::System {
            addr,
            action,
            source,
        };
        outside.apply(&socket).map_err(refused)?;
    }
    UdpPort::new(socket, addr, Arc::default())
}

/// Returns the address with an IPv4-mapped IPv6 address as IPv4.
pub(crate) fn canonical(peer: SocketAddr) -> SocketAddr {
    match peer.ip() {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), peer.port()),
            None => peer,
        },
        IpAddr::V4(_) => peer,
    }
}

#[cfg(test)]
mod tests;
