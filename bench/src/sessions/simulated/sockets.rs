//! A UDP socket of the simulated clients with its QUIC endpoint and an address of its own.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::BytesMut;
use conformance::Machine;
use quinn_proto::{Endpoint, EndpointConfig, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::event::{PollFd, PollFlags, poll};

/// Trains per receive call, and room for the longest.
const BATCHES: usize = 8;
const BATCH_BYTES: usize = 65_535;
/// What the tunnel's own programs ask for.
static SOCKET_BUFFER: libc::c_int = 8 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) endpoint: Endpoint,
    socket: UdpSocket,
    state: UdpSocketState,
    /// Which client a connection of the endpoint belongs to, by its handle.
    pub(super) owners: Vec<usize>,
}

/// Where packets are read into, one for all sockets.
#[derive(Debug)]
pub(super) struct ReceiveBuffers(Vec<Vec<u8>>);

/// Datagrams of one sender.
pub(super) struct Batch {
    pub(super) from: SocketAddr,
    pub(super) stride: usize,
    pub(super) bytes: BytesMut,
}

impl ReceiveBuffers {
    pub(super) fn new() -> Self {
        Self(vec![vec![0; BATCH_BYTES]; BATCHES])
    }
}

impl Port {
    /// A socket with that address on `machine`.
    ///
    /// # Errors
    /// When the address is not the machine's.
    pub(super) fn bind(machine: &Machine, address: Ipv4Addr) -> Result<Self> {
        let what = || format!("a UDP socket on {address}");
        let socket = machine
            .enter(|| UdpSocket::bind((address, 0)))
            .with_context(what)?;
        socket.set_nonblocking(true).with_context(what)?;
        let state = UdpSocketState::new((&socket).into()).with_context(what)?;
        for option in [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE] {
            // SAFETY: the value outlives the call and its size is given.
            let set = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    option,
                    (&raw const SOCKET_BUFFER).cast(),
                    size_of_val(&SOCKET_BUFFER) as libc::socklen_t,
                )
            };
            anyhow::ensure!(set == 0, "{}: no large buffer", what());
        }
        let config = Arc::new(EndpointConfig::default());
        Ok(Self {
            endpoint: Endpoint::new(config, None, true, None),
            socket,
            state,
            owners: Vec::new(),
        })
    }

    /// How many equal datagrams one send call may carry.
    pub(super) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// One receive call; false when nothing was there.
    ///
    /// # Errors
    /// When the socket is broken.
    pub(super) fn receive(
        &self,
        buffers: &mut ReceiveBuffers,
        mut each: impl FnMut(Batch),
    ) -> Result<bool> {
        let mut meta = [RecvMeta::default(); BATCHES];
        let count = {
            let mut slices: Vec<_> = buffers
                .0
                .iter_mut()
                .map(|buffer| IoSliceMut::new(buffer))
                .collect();
            match self
                .state
                .recv((&self.socket).into(), &mut slices, &mut meta)
            {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("receiving at the simulated clients"),
            }
        };
        for (buffer, meta) in buffers.0.iter().zip(&meta[..count]) {
            each(Batch {
                from: meta.addr,
                stride: meta.stride.max(1),
                bytes: BytesMut::from(&buffer[..meta.len]),
            });
        }
        Ok(true)
    }

    /// Sends one batch, and waits where the socket is full.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(super) fn send(&self, transmit: &Transmit, contents: &[u8]) -> Result<()> {
        let batch = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: None,
            contents: &contents[..transmit.size],
            segment_size: transmit.segment_size,
            src_ip: None,
        };
        loop {
            match self.state.try_send((&self.socket).into(), &batch) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut room = [PollFd::new(&self.socket, PollFlags::OUT)];
                    poll(&mut room, None).context("waiting for room in a socket")?;
                }
                Err(error) => return Err(error).context("sending from the simulated clients"),
            }
        }
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
