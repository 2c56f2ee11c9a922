//! UDP from the client machine to the server machine: the highest rate at which no more than one
//! packet in a thousand is missing.
//!
//! iperf3 sends one packet a call, wakes up for each and counts in its own report; at the rates of
//! interest it is iperf3 that is measured. Here a sender paced in steps of [`sender::STEP`] hands
//! many packets to a call, and the receiver counts them. Both are the same for every tunnel, and
//! the bare link's figure shows their limit.

mod receiver;
mod search;
mod sender;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libc::{SOL_UDP, UDP_GRO, UDP_SEGMENT};

use crate::figure::UdpLoad;
use crate::veth_link::VethLink;
use receiver::Receiver;
pub(crate) use search::{Found, Trial};
use sender::Sender;

/// Share of packets that may be missing.
pub(crate) const LOSS_LIMIT: f64 = 0.001;
/// IPv4 and UDP header: what a packet has before its payload.
pub(crate) const HEADERS: usize = 28;
/// How long one rate is tried while searching, and how long the one found has to hold.
const SEARCH: Duration = Duration::from_millis(300);
const PROOF: Duration = Duration::from_secs(1);
/// Packets per second to begin with where nothing is known.
const FIRST_RATE: f64 = 50_000.0;
/// After this long without a packet nothing more arrives.
const QUIET: Duration = Duration::from_millis(100);

/// A sender and a receiver with a way between them.
#[derive(Debug)]
pub(crate) struct UdpPath {
    sender: Sender,
    receiver: Receiver,
}

impl UdpPath {
    /// From the client machine to `address` on the server machine.
    ///
    /// # Errors
    /// When the kernel refuses a socket or its options.
    pub(crate) fn open(veth: &VethLink, address: Ipv4Addr, load: UdpLoad) -> Result<Self> {
        ensure!(
            load.bytes >= HEADERS + sender::MARK,
            "a packet of {} bytes has no room for a number",
            load.bytes
        );
        let receiver = veth.server.enter(|| Receiver::start(address, load))?;
        let sender = veth
            .client
            .enter(|| Sender::connect(receiver.address(), load))?;
        Ok(Self { sender, receiver })
    }

    /// The highest rate that holds, in packets per second, found by trials from `known` on: what an
    /// earlier search found.
    ///
    /// # Errors
    /// When no rate holds, or the kernel refuses to send.
    pub(crate) fn search(&mut self, known: Option<f64>) -> Result<Found> {
        search::highest(known, FIRST_RATE, |rate| self.attempt(rate, SEARCH))
            .context("the highest UDP rate")
    }

    /// Lets a rate prove itself for longer.
    ///
    /// # Errors
    /// When the kernel refuses to send.
    pub(crate) fn prove(&mut self, rate: f64) -> Result<Trial> {
        self.attempt(rate, PROOF)
    }

    fn attempt(&mut self, rate: f64, time: Duration) -> Result<Trial> {
        self.receiver.expect(self.sender.next_flow());
        let (sent, taken) = self.sender.send(rate, time)?;
        let received = self.receiver.wait_for(sent, QUIET);
        Ok(Trial {
            asked: rate,
            sent,
            received,
            seconds: taken.as_secs_f64(),
        })
    }
}

/// A socket on that address with an option of the UDP level that is a number.
fn set_udp_option(socket: &std::net::UdpSocket, option: libc::c_int, value: usize) -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let value = libc::c_int::try_from(value).context("an option is a small number")?;
    // SAFETY: the descriptor is open, and the pointer and the length are those of a live number.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            SOL_UDP,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    ensure!(
        code == 0,
        "{}: {} (Linux 5.0 or later?)",
        match option {
            UDP_GRO => "UDP_GRO",
            UDP_SEGMENT => "UDP_SEGMENT",
            _ => "a UDP option",
        },
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// Any free port on that address.
fn on(address: Ipv4Addr) -> SocketAddr {
    SocketAddr::new(address.into(), 0)
}
