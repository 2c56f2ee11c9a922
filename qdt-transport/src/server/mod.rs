//! The server's packet workers: started together on one address, told what to do, stopped together.

mod admission;
mod app;
mod exchange;
mod gate;
mod mailbox;
mod making;
mod opening;
mod packets;
mod pending;
mod places;
mod pool;
mod route;
mod sessions;
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
use opening::Opening;
#[cfg(test)]
pub(crate) use virtual_end::VirtualServer;

use crate::clock;
use crate::counters::WorkerCounters;
use crate::limits::SessionLimits;
use crate::tls::ServerTls;
use crate::udp::{BindError, bind_server};

/// What clients of a worker are told that cannot go on.
const FAILED: &str = "server failed";
/// What a server needs to start its workers.
#[derive(Debug)]
pub struct ServerSettings {
    /// Where to listen. `[::]` serves IPv4 too.
    pub addr: SocketAddr,
    /// Certificate and derived secrets.
    pub tls: ServerTls,
    /// One TUN queue per worker: their number is the number of workers, 1 to 128.
    pub queues: Vec<TunQueue>,
    /// The clients' inner addresses.
    pub pool: Pool,
    /// The server's own inner address.
    pub gateway: IpAddr,
    /// Whether clients may reach each other.
    pub client_to_client: bool,
    /// Link-local addresses that clients may reach; all others, and loopback addresses, are closed
    /// to them.
    pub forward_link_local: Vec<IpAddr>,
    /// Bound on the fragments of one session that wait for the rest, in bytes.
    pub max_reassembly_bytes: usize,
    /// Silence after which a client counts as gone, 15 to 30 seconds (the nearest is taken). Our
    /// clients ask for a sign of life at least five seconds before it, Go clients every ten seconds
    /// or more often where this is short.
    pub idle_timeout: Duration,
    /// Outgoing datagrams that may wait in one connection (`send_datagram_queue`).
    pub datagram_queue: usize,
    /// The largest `mtu` a session may have; with `datagram_queue` it bounds a connection's memory.
    pub mtu: u16,
    /// TUN packets that may wait for one worker because another one read them (`send_queue`).
    pub handover_queue: usize,
    /// TUN reads of one worker between two looks at its socket (`send_batch`).
    pub tun_reads_per_turn: usize,
}

/// Why the workers did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No UDP socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The number of TUN queues is not one that workers can be made for.
    #[error("{0} packet workers asked for; 1 to {MAX_WORKERS} are possible: set send_workers")]
    Workers(usize),
    /// A thread or descriptor could not be had.
    #[error("cannot start packet worker {worker}: {source}")]
    System {
        /// Its number.
        worker: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a worker stopped.
#[derive(Debug)]
pub enum WorkerExit {
    /// It was told to.
    Drained,
    /// Its TUN queue cannot be read any more.
    TunRead(io::Error),
    /// Something else it cannot go on without.
    Failed(String),
    /// It panicked: a bug. The process should end and be started anew.
    Panicked,
}

/// The running workers. Dropping this drains them.
#[derive(Debug)]
pub struct ServerWorkers {
    shared: Arc<Shared>,
    opening: Arc<Opening>,
    threads: Vec<JoinHandle<()>>,
    counters: Vec<Arc<WorkerCounters>>,
    local_addr: SocketAddr,
}

/// Wakes workers and counts their wakeups, to find one that is stuck. Nothing is measured on the
/// packet path.
#[derive(Clone, Debug)]
pub struct WorkerHeartbeat(Arc<Shared>);

impl WorkerHeartbeat {
    /// Wakes each worker once, idle ones included.
    pub fn wake(&self) {
        self.0.mailboxes.iter().for_each(Mailbox::wake);
    }

    /// How often each worker has been woken since it started. The number grows after
    /// [`wake`](Self::wake) unless the worker is stuck.
    #[must_use]
    pub fn wakeups(&self) -> Vec<u64> {
        self.0.mailboxes.iter().map(Mailbox::wakeups).collect()
    }
}

impl ServerWorkers {
    /// Binds the address and starts the workers, which serve from [`Self::open`] on. `on_exit` is
    /// called on a worker's thread when that worker stops for whatever reason; when one stops by
    /// itself it has told its clients, the others go on, and the caller should end them.
    ///
    /// # Errors
    /// The address is taken or not ours, or the system is out of threads or descriptors; then
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
        let shared = making::share(&settings)?;
        let mut running = Self {
            shared: shared.clone(),
            opening: Arc::new(Opening::new()),
            threads: Vec::with_capacity(workers),
            counters: Vec::with_capacity(workers),
            local_addr,
        };
        let queues = std::mem::take(&mut settings.queues);
        for (worker, (port, tun)) in ports.into_iter().zip(queues).enumerate() {
            let (admission, shared) = (admission.clone(), shared.clone());
            let own = (worker, port, tun);
            let mut this = making::worker(clock::now(), &settings, admission, shared, own, None);
            let counters = this.role.path.counters.clone();
            let on_exit = on_exit.clone();
            let opening = running.opening.clone();
            let thread = std::thread::Builder::new()
                .name(format!("qdt-worker-{worker}"))
                .spawn(move || {
                    let exit = if opening.wait() {
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

    /// Lets the workers serve. What has arrived since the start is answered now.
    pub fn open(&self) {
        self.opening.open();
    }

    /// The address that is listened on, with the port the system chose if 0 was asked for.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The workers' counters, to be summed whenever somebody asks.
    #[must_use]
    pub fn counters(&self) -> Vec<Arc<WorkerCounters>> {
        self.counters.clone()
    }

    /// A handle to find workers that are stuck.
    #[must_use]
    pub fn heartbeat(&self) -> WorkerHeartbeat {
        WorkerHeartbeat(self.shared.clone())
    }

    /// New connections get this certificate; those that are open stay.
    pub fn use_tls(&self, tls: &ServerTls) {
        self.send_all(|| Command::UseTls(Box::new(tls.clone())));
    }

    /// Ends the session and its connection, which says `reason`, soon. Without effect where there
    /// is no such session (any more).
    pub fn end(&self, session: SessionId, reason: &'static str) {
        self.send_all(|| Command::EndSession(session, reason));
    }

    /// The session's packets are held to `limits` from soon on, with nothing left of a burst that
    /// the earlier limits allowed. Without effect where there is no such session (any more).
    pub fn set_limits(&self, session: SessionId, limits: SessionLimits) {
        self.send_all(|| Command::SetLimits(session, limits));
    }

    fn send_all(&self, command: impl Fn() -> Command) {
        for mailbox in &self.shared.mailboxes {
            mailbox.send(command());
        }
    }

    /// Closes every connection with a CONNECTION_CLOSE that says `reason`, and stops the workers.
    /// Returns when they have stopped, half a second later at most.
    pub fn drain(mut self, reason: &'static str) {
        self.stop(reason);
    }

    fn stop(&mut self, reason: &'static str) {
        self.opening.stop();
        self.send_all(|| Command::Drain(reason));
        for thread in self.threads.drain(..) {
            // The thread catches its own panics; a second one in `on_exit` is reported by the
            // runtime.
            let _ = thread.join();
        }
    }
}

impl Drop for ServerWorkers {
    fn drop(&mut self) {
        self.stop("server stopped");
    }
}
