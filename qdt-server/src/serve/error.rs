//! The errors that keep a server from starting, or end it.

use qdt_host::{FirewallError, LinkError, TunError};
use qdt_program::ResolveError;
use qdt_transport::{CertificateError, StartError};
use tokio::task::JoinError;

use super::overlap::Overlap;
use crate::address::PoolError;

/// Displays as one line: the key, file or device, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The certificate or its key is unusable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// `pool_cidr` is not a pool.
    #[error("pool_cidr: {0}")]
    Pool(#[from] PoolError),
    /// `pool_cidr` overlaps a network of the host.
    #[error("pool_cidr: {0}")]
    Overlap(Overlap),
    /// `addr` cannot be resolved.
    #[error("addr: {0}")]
    Listen(#[from] ResolveError),
    /// The TUN device cannot be opened.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// The TUN device cannot be configured.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The packet workers cannot start; most often `addr` is in use.
    #[error(transparent)]
    Workers(#[from] StartError),
    /// The firewall cannot be changed.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// A packet worker stopped unasked.
    #[error("packet worker {worker} stopped: {reason}")]
    Worker {
        /// The worker's index.
        worker: usize,
        /// Why.
        reason: String,
    },
    /// An essential task stopped unasked.
    #[error("the task that {task} stopped, which is a bug in qdt-server: {error:?}")]
    Task {
        /// What the task does.
        task: &'static str,
        /// How it ended.
        error: Option<JoinError>,
    },
}

impl ServeError {
    /// Returns the Go server's log message for it: `server init error` before the server listens,
    /// `server error` afterwards.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Workers(_) | Self::Worker { .. } | Self::Task { .. } => "server error",
            _ => "server init error",
        }
    }
}
