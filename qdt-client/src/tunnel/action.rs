//! What the life-cycle wants done, as values that a test can compare.
//!
//! What always holds here: actions are carried out in the order they were given, and nothing
//! follows [`Action::Exit`].

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use qdt_host::{DnsPlan, RoutePlan};

use crate::assignment::DnsEntryError;
use crate::cause::Cause;
use crate::failure::{ClientError, Failure};
use crate::plan::TunPlan;
use qdt_transport::{AttemptId, Dial, PacketSize};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look the server's name up, and report [`super::Event::Resolved`]. At most one look-up is
    /// asked for at a time.
    Resolve,
    /// Start a connection attempt.
    Dial(Dial),
    /// Let this connection carry the tunnel.
    Adopt(AttemptId),
    /// End this attempt or connection.
    Hangup(AttemptId),
    /// Make the TUN device, or give the existing one this address and MTU.
    SetTun(TunPlan),
    /// Replace the routes into the tunnel.
    SetRoutes(RoutePlan),
    /// Replace the host's resolvers; `None` gives the host its own back.
    SetDns(Option<DnsPlan>),
    /// Take the routes away.
    RemoveRoutes,
    /// End every connection and let the TUN device go.
    StopLink,
    /// Say something in the log.
    Report(Report),
    /// End the program.
    Exit(Outcome),
}

/// How the program ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Somebody asked for it: exit code 0.
    Signal,
    /// It cannot go on: exit code 1.
    Failed(ClientError),
}

/// What the log is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// No session came of a round of attempts; the next round follows.
    Retrying {
        /// The most telling failure of the round; `None` when nothing was heard at all.
        failure: Option<Failure>,
        /// How long nothing is tried.
        pause: Duration,
    },
    /// Somebody answered the first connect with a certificate that is not the server's; trying goes
    /// on. Told once.
    WrongCertificate {
        /// What is wrong with it.
        failure: Failure,
        /// The client ends when nothing else has answered for so long.
        patience: Duration,
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
        /// Whether the server knows our extensions.
        extensions: bool,
    },
    /// Another connection carries the tunnel now.
    Moved {
        /// The session.
        session_id: u64,
        /// Inner address.
        address: IpNet,
        /// Packet size of the connection.
        size: PacketSize,
    },
    /// The connection is gone.
    Lost {
        /// In words.
        reason: String,
    },
    /// The connection may be gone; others are tried beside it.
    Doubted,
    /// The doubted connection was heard again.
    Recovered,
    /// Full-size packets do not arrive any more.
    PathTooSmall,
    /// A resolver of the server was left out.
    DnsEntryRefused(DnsEntryError),
    /// The server's name was not resolved while no connection carries the tunnel.
    ResolveFailed(Cause),
    /// Where the server is.
    Resolved(Vec<IpAddr>),
}
