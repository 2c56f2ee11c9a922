//! The packet workers: threads that drive QUIC, a TUN queue and timers.
//!
//! This crate is the I/O side: [`qdt_proto`] has the wire format without I/O, this crate has
//! sockets, clocks and threads without policy. Policy comes through the server's [`Admission`] and
//! the client's [`ClientCommand`]s.
//!
//! Invariants:
//! * A worker is one synchronous thread. It owns its UDP socket, its TUN queue, its QUIC
//!   connections and their sessions, so no packet takes a lock or crosses a channel, except packets
//!   that the kernel delivered to another worker's queue, which are handed over in batches
//!   ([`server`]).
//! * Packets are sent in the order of sealing and reach the TUN in the order of opening.
//! * A drop is a value with a reason, counted once, where it happens ([`DropReason`]).
//! * Work is drained until it would block, within a budget per source, and then flushed. Nothing
//!   waits for a batch to fill.

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
mod path;
mod queue;
mod rate_limit;
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
pub use path::PacketSize;
pub use rate_limit::{SessionLimits, SessionUsage};
pub use server::{
    Admission, Decision, Grant, MAX_WORKERS, Owner, Pool, PoolIndex, Refusal, Reply,
    RequestContext, ServerSettings, ServerWorkers, StartError, WorkerExit, WorkerHeartbeat,
};
pub use tls::{
    CertificateError, ClientTls, ClientTrust, PinError, ServerSecrets, ServerTls, SpkiPin,
    TrustError,
};
pub use udp::BindError;

/// Parts of a client for programs that simulate many clients, like the benchmark. Programs with one
/// client use [`ClientWorker`].
pub mod simulation {
    pub use crate::client::{KeepAlive, dialling_config};
    pub use crate::queue::{CongestionSignal, FairShare, Share};
    pub use crate::tun_port::coalescer_for;
}
