//! The packet worker: one thread that drives QUIC, a TUN queue and timers.
//!
//! This crate is the I/O side of the split: [`qdt_proto`] knows the wire and no sockets, this crate
//! owns sockets, clocks and threads and knows no policy. Policy comes in through two seams: the
//! server's [`Admission`] and the client's [`ClientCommand`]s.
//!
//! What always holds here:
//! * A worker is one synchronous thread. It owns its UDP socket, its TUN queue, its QUIC
//!   connections and their sessions; nobody else touches them, so no packet takes a lock or crosses
//!   a channel, except a packet that the kernel handed to the wrong worker's TUN queue ([`server`]
//!   hands it over in a batch).
//! * The order of sealing is the order of sending, and packets reach the TUN in the order they were
//!   opened.
//! * A drop is a value with a reason, counted once, where it happens ([`DropReason`]).
//! * Work is drained until it would block, within a budget per source, and then flushed. Nothing
//!   ever waits for a batch to fill.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "a test may read the clock")
)]

mod arena;
mod batch;
mod carrier;
mod client;
mod clock;
mod counters;
mod engine;
mod http3_streams;
mod inner;
mod limit_key;
mod limits;
mod path;
mod queue;
mod server;
mod session;
mod tls;
mod tun_port;
mod udp;
#[cfg(test)]
mod virtual_pair;
mod wake;
mod worker;
mod worker_thread;

pub use client::{
    AttemptId, ClientCommand, ClientEvent, ClientSettings, ClientWorker, Dial, DialError,
};
pub use counters::{
    Counters, DropReason, SessionCounters, SessionTraffic, UdpReject, WorkerCounters,
};
pub use limit_key::{LimitKey, Reach};
pub use limits::{SessionLimits, SessionUsage};
pub use path::PacketSize;
pub use server::{
    Admission, Decision, Grant, MAX_WORKERS, Owner, Pool, PoolIndex, Refusal, Reply,
    RequestContext, ServerSettings, ServerWorkers, StartError, WorkerExit, WorkerHeartbeat,
};
pub use tls::{
    CertificateError, ClientTls, ClientTrust, PinError, ServerSecrets, ServerTls, SpkiPin,
    TrustError,
};
pub use udp::BindError;

/// How a client dials, keeps its connection alive and shares it, for programs that simulate many
/// clients: the benchmark. Programs that are one client use [`ClientWorker`].
pub mod simulation {
    pub use crate::client::{Pulse, dialling_config};
    pub use crate::queue::{CongestionSignal, FairShare, Share};
    pub use crate::tun_port::coalescer_for;
}
