//! The server's packet workers: started together on one address, controlled and stopped together.

mod admission;
mod app;
mod build;
mod exchange;
mod handshake_gate;
mod handshake_slots;
mod mailbox;
mod packets;
mod pending;
mod pool;
mod route;
mod sessions;
mod start_signal;
mod table;
#[cfg(test)]
mod virtual_end;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use qdt_host::tun::TunQueue;
use qdt_proto::datagram::SessionId;

pub use admission::{Admission, Decision, Grant, Owner, Refusal, RequestContext};
pub use pending::Reply;
pub use pool::{Pool, PoolIndex};
pub use table::MAX_WORKERS;

use app::Shared;
use mailbox::{Command, Mailbox};
use start_signal::StartSignal;
#[cfg(test)]
pub(crate) use virtual_end::VirtualServer;

use crate::clock;
use crate::counters::WorkerCounters;
use crate::rate_limit::SessionLimits;
use crate::tls::ServerTls;
use crate::udp::{BindError, bind_server};

/// The close reason of a worker that fails.
const FAILED: &str = "server failed";
/// The settings of a server's workers.
#[derive(Debug)]
pub struct ServerSettings {
    /// The address to listen on. `[::]` includes IPv4.
    pub addr: SocketAddr,
    /// Certificate and derived secrets.
    pub tls: ServerTls,
    /// One TUN queue per worker, 1 to 128.
    pub queues: Vec<TunQueue>,
    /// The clients' inner addresses.
    pub pool: Pool,
    /// The server's own inner address.
    pub gateway: IpAddr,
    /// Whether clients may reach each other.
    pub client_to_client: bool,
    /// Link-local addresses that clients may reach. Other link-local and all loopback addresses are
    /// refused.
    pub forward_link_local: Vec<IpAddr>,
    /// The most bytes of incomplete fragments per session.
    pub max_reassembly_bytes: usize,
    /// The silence after which a client counts as gone, clamped to 15 to 30 seconds. Our clients
    /// send a keep-alive at least five seconds before it, Go clients every ten seconds or more
    /// often if it is short.
    pub idle_timeout: Duration,
    /// The most outgoing datagrams that wait in one connection (`send_datagram_queue`).
    pub datagram_queue: usize,
    /// The largest `mtu` of a session; with `datagram_queue` it bounds a connection's memory.
    pub mtu: u16,
    /// The most TUN packets that wait for a worker after another one read them (`send_queue`).
    pub handover_queue: usize,
    /// The most TUN reads per turn (`send_batch`).
    pub tun_reads_per_turn: usize,
}

/// Why the workers did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No UDP socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The number of TUN queues is not a possible number of workers.
    #[error("{0} packet workers asked for; 1 to {MAX_WORKERS} are possible: set send_workers")]
    Workers(usize),
    /// A thread or descriptor is not available.
    #[error("cannot start packet worker {worker}: {source}")]
    System {
        /// The worker's number.
        worker: usize,
        /// The system's error.
        source: io::Error,
    },
}

/// Why a worker stopped.
#[derive(Debug)]
pub enum WorkerExit {
    /// By [`ServerWorkers::drain`].
    Drained,
    /// Its TUN queue failed.
    TunRead(io::Error),
    /// Another fatal error.
    Failed(String),
    /// It panicked: a bug. The process should be restarted.
    Panicked,
}

/// The running workers. Dropping it drains them.
#[derive(Debug)]
pub struct ServerWorkers {
    shared: Arc<Shared>,
    start_signal: Arc<StartSignal>,
    threads: Vec<JoinHandle<()>>,
    counters: Vec<Arc<WorkerCounters>>,
    local_addr: SocketAddr,
}

/// Wakes workers and counts their wake-ups, to detect one that is stuck. It measures nothing on the
/// packet path.
#[derive(Clone, Debug)]
pub struct WorkerHeartbeat(Arc<Shared>);

impl WorkerHeartbeat {
    /// Wakes each worker once, idle ones included.
    pub fn wake(&self) {
        self.0.mailboxes.iter().for_each(Mailbox::wake);
    }

    /// Returns how often each worker has been woken. The number grows after [`wake`](Self::wake)
    /// unless the worker is stuck.
    #[must_use]
    pub fn wakeups(&self) -> Vec<u64> {
        self.0.mailboxes.iter().map(Mailbox::wakeups).collect()
    }
}

impl ServerWorkers {
    /// Binds the address and starts the workers, which serve after [`Self::open`]. `on_exit` runs
    /// on a worker's thread when that worker stops for any reason. A worker that fails has closed
    /// its connections; the others go on, and the caller should end them.
    ///
    /// # Errors
    /// The address is in use or not local, or the system is out of threads or descriptors; then
    /// nothing runs.
    pub fn start<A: Admission>(
        mut settings: ServerSettings,
        admission: Arc<A>,
        on_exit: impl Fn(usize, WorkerExit) + Send + Clone + 'static,
    ) -> Result<Self, StartError> {
        let workers = settings.queues.len();
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(StartError::Workers(workers));
        }
        let system = |worker| move |source| StartError::System { worker, source };
        let ports = bind_server(settings.addr, workers)?;
        let local_addr = ports[0].local_addr();
        let shared = build::build_shared(&settings)?;
        let mut running = Self {
            shared: shared.clone(),
            start_signal: Arc::new(StartSignal::new()),
            threads: Vec::with_capacity(workers),
            counters: Vec::with_capacity(workers),
            local_addr,
        };
        let queues = std::mem::take(&mut settings.queues);
        for (worker, (port, tun)) in ports.into_iter().zip(queues).enumerate() {
            let (admission, shared) = (admission.clone(), shared.clone());
            let own = (worker, port, tun);
            let mut this =
                build::build_worker(clock::now(), &settings, admission, shared, own, None);
            let counters = this.role.path.counters.clone();
            let on_exit = on_exit.clone();
            let start_signal = running.start_signal.clone();
            let thread = std::thread::Builder::new()
                .name(format!("qdt-worker-{worker}"))
                .spawn(move || {
                    let exit = if start_signal.wait() {
                        worker::run(&mut this)
                    } else {
                        WorkerExit::Drained
                    };
                    on_exit(worker, exit);
                })
                .map_err(system(worker))?;
            running.threads.push(thread);
            running.counters.push(counters);
        }
        Ok(running)
    }

    /// Lets the workers serve. Datagrams that have arrived since the start are answered now.
    pub fn open(&self) {
        self.start_signal.open();
    }

    /// Returns the listening address, with the port that the system chose for 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Returns the workers' counters.
    #[must_use]
    pub fn counters(&self) -> Vec<Arc<WorkerCounters>> {
        self.counters.clone()
    }

    /// Returns a handle that detects stuck workers.
    #[must_use]
    pub fn heartbeat(&self) -> WorkerHeartbeat {
        WorkerHeartbeat(self.shared.clone())
    }

    /// Uses this certificate for new connections; open ones stay.
    pub fn use_tls(&self, tls: &ServerTls) {
        self.send_all(|| Command::UseTls(Box::new(tls.clone())));
    }

    /// Closes the session and its connection with `reason`, asynchronously. No effect if the
    /// session does not exist.
    pub fn end(&self, session: SessionId, reason: &'static str) {
        self.send_all(|| Command::EndSession(session, reason));
    }

    /// Applies `limits` to the session, asynchronously, without what is left of an earlier burst.
    /// No effect if the session does not exist.
    pub fn set_limits(&self, session: SessionId, limits: SessionLimits) {
        self.send_all(|| Command::SetLimits(session, limits));
    }

    fn send_all(&self, command: impl Fn() -> Command) {
        for mailbox in &self.shared.mailboxes {
            mailbox.send(command());
        }
    }

    /// Closes every connection with a CONNECTION_CLOSE and `reason`, and stops the workers. Returns
    /// when they have stopped, after half a second at most.
    pub fn drain(mut self, reason: &'static str) {
        self.stop(reason);
    }

    fn stop(&mut self, reason: &'static str) {
        self.start_signal.stop();
        self.send_all(|| Command::Drain(reason));
        for thread in self.threads.drain(..) {
            // The thread catches panics; one in `on_exit` is reported by the runtime.
            let _ = thread.join();
        }
    }
}

impl Drop for ServerWorkers {
    fn drop(&mut self) {
        self.stop("server stopped");
    }
}
