//! The client's packet worker. It dials, carries the tunnel and closes on command, and reports
//! events; when to dial and when to give up is decided elsewhere.

mod app;
mod connect_exchange;
mod dialling;
mod keep_alive;
mod liveness;
mod packets;
mod probes;
mod tunnels;
#[cfg(test)]
mod virtual_end;
mod worker;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use qdt_host::{Outside, TunQueue};
use qdt_proto::handshake::{Assignment, AssignmentError, Capabilities, Ticket};
use zeroize::Zeroizing;

use crate::clock;
use crate::counters::WorkerCounters;
use crate::path::PacketSize;
use crate::tls::ClientTls;
use crate::udp::{BindError, bind_client};
use crate::wake::Waker;
use app::ClientApp;
pub use dialling::dialling_config;
pub use keep_alive::KeepAlive;
#[cfg(test)]
pub(crate) use virtual_end::VirtualClient;

/// The id of a connection attempt and of the connection that results. Unique within one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// One connection attempt: QUIC handshake, then `POST /connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The id in all events of this attempt.
    pub attempt: AttemptId,
    /// The destination of the first packet.
    pub address: SocketAddr,
    /// The packet size, which the connection keeps.
    pub size: PacketSize,
    /// The `resume` ticket of an earlier answer, if any.
    pub resume: Option<Ticket>,
}

/// A command to the worker. Commands for an attempt that is gone have no effect.
#[derive(Debug)]
pub enum ClientCommand {
    /// Starts another attempt in parallel.
    Dial(Dial),
    /// Moves the tunnel to this connection and closes the previous one.
    Adopt(AttemptId),
    /// Closes this attempt or connection without further events.
    Close(AttemptId),
    /// Reads and writes inner packets here.
    AttachTun(TunQueue),
    /// Closes every connection, drops the TUN queue and stops.
    Stop,
}

/// Why an attempt failed without an HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No answer in time.
    #[error("no answer within the timeout")]
    Timeout,
    /// The server's certificate or TLS parameters were refused. Another server may have answered
    /// first.
    #[error("{0}")]
    Certificate(String),
    /// The system refused to send.
    #[error("{0}")]
    Io(String),
    /// The connection closed before the answer.
    #[error("connection closed: {0}")]
    Closed(String),
    /// The answer to `POST /connect` is invalid.
    #[error("invalid answer: {0}")]
    InvalidAnswer(String),
    /// The answer fails a check of its assignment.
    #[error("invalid answer: {0}")]
    Assignment(#[from] AssignmentError),
}

impl DialError {
    /// Returns whether the server answered.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::InvalidAnswer(_) | Self::Assignment(_))
    }
}

/// An event that the worker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The server answered 200: the attempt is a connection with a session, which carries nothing
    /// until it is adopted.
    Established {
        /// The attempt.
        attempt: AttemptId,
        /// The granted session's parameters.
        assignment: Box<Assignment>,
        /// The packet size the connection keeps.
        size: PacketSize,
    },
    /// The server answered with another status.
    Refused {
        /// The attempt.
        attempt: AttemptId,
        /// The HTTP status.
        status: u16,
        /// The body as text, with its line feed.
        body: String,
    },
    /// The attempt failed without an answer.
    Failed {
        /// The attempt.
        attempt: AttemptId,
        /// The reason.
        error: DialError,
    },
    /// The connection may be dead: packets in flight or probes are unanswered.
    Suspect {
        /// The connection.
        attempt: AttemptId,
    },
    /// A suspect connection was heard again.
    Recovered {
        /// The connection.
        attempt: AttemptId,
    },
    /// Small packets arrive, packets of the connection's size do not.
    PathTooSmall {
        /// The connection.
        attempt: AttemptId,
    },
    /// The connection closed.
    Closed {
        /// The connection.
        attempt: AttemptId,
        /// The reason as text, for the log.
        reason: String,
    },
    /// The TUN queue failed.
    TunFailed {
        /// The system's error.
        error: String,
    },
    /// The worker cannot continue: a bug, or a system without descriptors.
    Broken {
        /// The error.
        error: String,
    },
}

/// The settings that all attempts share.
#[derive(Clone)]
pub struct ClientSettings {
    /// The TLS configuration with the client's trust.
    pub tls: ClientTls,
    /// How the tunnel's own packets stay outside it; a mark needs `CAP_NET_ADMIN`.
    pub outside: Option<Outside>,
    /// The host of `server`, without brackets; the certificate is checked against it.
    pub server_name: String,
    /// `:authority` of the request.
    pub authority: String,
    /// The token.
    pub token: Zeroizing<Vec<u8>>,
    /// The largest `mtu` of a session, in bytes.
    pub mtu: u16,
    /// The capabilities to announce.
    pub caps: Capabilities,
    /// The user's name for this client, possibly empty.
    pub client_id: String,
    /// The time limit of an attempt.
    pub dial_timeout: Duration,
    /// The silence after which a connection is probed, limited to what keeps it alive. `None`: 5
    /// seconds, and with our servers up to 25 seconds while the tunnel is idle.
    pub probe_interval: Option<Duration>,
    /// The most bytes of incomplete fragments.
    pub max_reassembly_bytes: usize,
}

impl fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSettings")
            .field("server_name", &self.server_name)
            .field("mtu", &self.mtu)
            .finish_non_exhaustive()
    }
}

/// The running worker. Dropping it stops it.
#[derive(Debug)]
pub struct ClientWorker {
    commands: Sender<ClientCommand>,
    waker: Waker,
    counters: Arc<WorkerCounters>,
    thread: Option<JoinHandle<()>>,
}

impl ClientWorker {
    /// Opens the socket and starts the worker's thread. `events` runs on that thread and must not
    /// block.
    ///
    /// # Errors
    /// No socket, no mark on it, or no thread.
    pub fn start(
        settings: ClientSettings,
        events: impl Fn(ClientEvent) + Send + Clone + 'static,
    ) -> Result<Self, BindError> {
        let port = bind_client(settings.outside)?;
        let local = port.local_addr();
        let system = |action| {
            move |source| BindError::System {
                addr: local,
                action,
                source,
            }
        };
        let waker = Waker::new().map_err(system("make a wake-up for the packet worker"))?;
        let (commands, command_queue) = channel();
        let now = clock::now();
        let report = Box::new(events.clone());
        let role = ClientApp::new(now, settings, command_queue, report);
        let this = worker::build(now, role, waker.clone(), port, None);
        let counters = this.role.path.counters.clone();
        let thread = std::thread::Builder::new()
            .name("qdt-worker".into())
            .spawn(move || {
                let run = std::panic::AssertUnwindSafe(|| worker::run(this));
                if std::panic::catch_unwind(run).is_err() {
                    let error = "the packet worker panicked; this is a bug".into();
                    events(ClientEvent::Broken { error });
                }
            })
            .map_err(system("start the packet worker"))?;
        Ok(Self {
            commands,
            waker,
            counters,
            thread: Some(thread),
        })
    }

    /// Sends a command. Returns false if the worker has ended.
    pub fn send(&self, command: ClientCommand) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.waker.wake();
        sent
    }

    /// Returns the worker's counters.
    #[must_use]
    pub fn counters(&self) -> Arc<WorkerCounters> {
        self.counters.clone()
    }
}

impl Drop for ClientWorker {
    fn drop(&mut self) {
        self.send(ClientCommand::Stop);
        if let Some(thread) = self.thread.take() {
            // The thread catches its own panics.
            let _ = thread.join();
        }
    }
}
