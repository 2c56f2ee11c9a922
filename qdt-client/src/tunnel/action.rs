//! The output of the life-cycle: actions for the driver, as values that tests compare.
//!
//! Invariants: the driver executes actions in order, and none follows [`Action::Exit`].

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use qdt_host::{DnsPlan, RoutePlan};
use qdt_proto::handshake::DnsEntryError;
use qdt_transport::{AttemptId, Dial, PacketSize};

use crate::cause::Cause;
use crate::failure::{ClientError, Failure};
use crate::plan::TunPlan;

/// One action for the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Resolve the server's name, and report [`super::Event::Resolved`]. One look-up runs at a
    /// time.
    Resolve,
    /// Start a connection attempt.
    Dial(Dial),
    /// Make this connection carry the tunnel.
    Adopt(AttemptId),
    /// Close this attempt or connection.
    Close(AttemptId),
    /// Create the TUN device, or give the existing one this address and MTU.
    SetTun(TunPlan),
    /// Replace the routes into the tunnel.
    SetRoutes(RoutePlan),
    /// Replace the host's name servers; `None` restores the host's own.
    SetDns(Option<DnsPlan>),
    /// Remove the routes.
    RemoveRoutes,
    /// Close every connection and release the TUN device.
    StopWorker,
    /// Write to the log.
    Report(Report),
    /// Exit the program.
    Exit(Outcome),
}

/// How the program exits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// After a signal: exit code 0.
    Signal,
    /// After an error: exit code 1.
    Failed(ClientError),
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A round of attempts failed; another one follows.
    Retrying {
        /// The most significant failure of the round; `None` when no attempt got an answer.
        failure: Option<Failure>,
        /// The wait before the next round.
        pause: Duration,
    },
    /// The answer to the first connect carries a certificate that is not the server's; attempts go
    /// on. Logged once.
    WrongCertificate {
        /// The error.
        failure: Failure,
        /// The time without another answer after which the client exits.
        give_up_in: Duration,
    },
    /// The tunnel is up for the first time.
    Connected {
        /// The session.
        session_id: u64,
        /// Inner address.
        address: IpNet,
        /// MTU of the TUN device in bytes.
        tun_mtu: u16,
        /// Packet size of the connection.
        size: PacketSize,
        /// Whether the server supports our extensions.
        extensions: bool,
    },
    /// The tunnel moved to another connection.
    Moved {
        /// The session.
        session_id: u64,
        /// Inner address.
        address: IpNet,
        /// Packet size of the connection.
        size: PacketSize,
    },
    /// The connection ended.
    Lost {
        /// The reason.
        reason: String,
    },
    /// The connection does not answer; attempts for another one run in parallel.
    Suspect,
    /// The suspect connection answered again.
    Recovered,
    /// The path no longer carries full-size packets.
    PathTooSmall,
    /// A name server of the answer was left out.
    DnsEntryRefused(DnsEntryError),
    /// The server's name was not resolved while no connection carries the tunnel.
    ResolveFailed(Cause),
    /// The server's addresses changed.
    Resolved(Vec<IpAddr>),
}
