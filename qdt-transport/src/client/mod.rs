//! The client's packet worker: dials when told to, carries the tunnel on the connection it is told
//! to, and reports what it sees. It decides nothing about when to dial or when to give up.

mod app;
mod asking;
mod dialling;
mod packets;
mod probes;
mod pulse;
mod tunnels;
#[cfg(test)]
mod virtual_end;
mod watch;
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
pub use pulse::Pulse;
#[cfg(test)]
pub(crate) use virtual_end::VirtualClient;

/// Names one connection attempt, and the connection that comes of it. Unique within one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub u64);

/// One connection attempt: QUIC handshake, then `POST /connect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The name under which everything about this attempt is reported.
    pub attempt: AttemptId,
    /// Where to send the first packet.
    pub address: SocketAddr,
    /// The packet size to start with and to keep.
    pub size: PacketSize,
    /// Presented as `resume`, where an earlier answer held one.
    pub resume: Option<Ticket>,
}

/// What the worker can be told. A command about an attempt that is gone already is harmless.
#[derive(Debug)]
pub enum ClientCommand {
    /// Start one more attempt beside whatever runs already.
    Dial(Dial),
    /// Let this connection carry the tunnel from now on, and end the one that did before.
    Adopt(AttemptId),
    /// End this attempt or connection; nothing more is reported about it.
    Hangup(AttemptId),
    /// Read and write the inner packets here.
    AttachTun(TunQueue),
    /// End every connection, let go of the TUN queue, and stop.
    Stop,
}

/// Why an attempt ended without an HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// No answer in time.
    #[error("no answer within the timeout")]
    Timeout,
    /// The server's certificate, or its TLS parameters, were refused: another server than the one
    /// that is meant may have answered first.
    #[error("{0}")]
    Certificate(String),
    /// The operating system refused to send.
    #[error("{0}")]
    Io(String),
    /// The connection ended before an answer came.
    #[error("connection closed: {0}")]
    Closed(String),
    /// What came was no answer to `POST /connect`.
    #[error("invalid answer: {0}")]
    InvalidAnswer(String),
    /// The answer assigns what a client does not accept.
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

/// What the worker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The server answered 200: the attempt is a connection with a session now. It carries nothing
    /// before it is adopted.
    Established {
        /// Which attempt.
        attempt: AttemptId,
        /// What the server granted.
        assignment: Box<Assignment>,
        /// The packet size the connection keeps.
        size: PacketSize,
    },
    /// The server answered with another status.
    Refused {
        /// Which attempt.
        attempt: AttemptId,
        /// The HTTP status.
        status: u16,
        /// The body as text, with its line feed.
        body: String,
    },
    /// There was no answer.
    Failed {
        /// Which attempt.
        attempt: AttemptId,
        /// Why.
        error: DialError,
    },
    /// The connection may be dead: packets in flight or probes stay unanswered.
    Suspect {
        /// Which connection.
        attempt: AttemptId,
    },
    /// A suspect connection was heard again.
    Recovered {
        /// Which connection.
        attempt: AttemptId,
    },
    /// Small packets arrive, packets of the connection's own size do not any more.
    PathTooSmall {
        /// Which connection.
        attempt: AttemptId,
    },
    /// The connection ended.
    Closed {
        /// Which connection.
        attempt: AttemptId,
        /// The reason in words, for the log.
        reason: String,
    },
    /// The TUN queue cannot be used any more.
    TunFailed {
        /// The operating system's words.
        error: String,
    },
    /// The worker itself cannot go on: a bug or a system without descriptors.
    Broken {
        /// What happened.
        error: String,
    },
}

/// What stays the same for every attempt.
#[derive(Clone)]
pub struct ClientSettings {
    /// Whom to trust.
    pub tls: ClientTls,
    /// What keeps the tunnel's own packets outside it; a mark needs `CAP_NET_ADMIN`.
    pub outside: Option<Outside>,
    /// The host of `server`, without brackets: what the certificate is checked against.
    pub server_name: String,
    /// `:authority` of the request.
    pub authority: String,
    /// The token.
    pub token: Zeroizing<Vec<u8>>,
    /// The largest session mtu this client takes, in bytes.
    pub mtu: u16,
    /// What to announce.
    pub caps: Capabilities,
    /// The user's name for this client; may be empty.
    pub client_id: String,
    /// How long an attempt may take.
    pub dial_timeout: Duration,
    /// How long a connection may be silent before it is asked. `None`: 5 seconds, and with a server
    /// of ours ever longer, up to 25 seconds, while nothing travels in the tunnel. Never longer
    /// than what keeps the connection alive.
    pub probe_interval: Option<Duration>,
    /// Bound on fragments that wait for the rest, in bytes.
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

/// The running worker. Dropping this stops it.
#[derive(Debug)]
pub struct ClientWorker {
    commands: Sender<ClientCommand>,
    waker: Waker,
    counters: Arc<WorkerCounters>,
    thread: Option<JoinHandle<()>>,
}

impl ClientWorker {
    /// Opens the socket and starts the worker's thread. `events` is called on that thread and must
    /// not block.
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
        let (commands, orders) = channel();
        let now = clock::now();
        let report = Box::new(events.clone());
        let role = ClientApp::new(now, settings, orders, report);
        let this = worker::make(now, role, waker.clone(), port, None);
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

    /// Hands a command over; false when the worker has ended.
    pub fn send(&self, command: ClientCommand) -> bool {
        let sent = self.commands.send(command).is_ok();
        self.waker.wake();
        sent
    }

    /// What the worker has counted.
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
