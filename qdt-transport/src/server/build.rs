//! The construction of a worker, before it has a thread, from the server's settings, a port and a
//! TUN queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_host::tun::TunQueue;
use quinn_proto::{Endpoint, EndpointConfig};

use super::admission::Admission;
use super::app::{ServerApp, Shared};
use super::handshake_gate::HandshakeGate;
use super::mailbox::{Mailbox, PacketBatch};
use super::sessions::Sessions;
use super::table::AddressTable;
use super::worker::ServerWorker;
use super::{ServerSettings, StartError};
use crate::clock;
use crate::engine::Engine;
use crate::inner::DataPath;
use crate::path::{BASE_PACKET, ConnectionLimits, IDLE_TIMEOUT};
use crate::queue::FairShare;
use crate::tun_port::TunPort;
use crate::udp::{DatagramPort, SteeredConnectionIds, Steering};
use crate::worker::Worker;

/// The most bytes of received datagrams per connection; they are read in the same turn.
const RECEIVE_QUEUE: usize = 4 << 20;
/// The shortest idle timeout: Go clients send a keep-alive every ten seconds, ours a third before
/// it.
const MIN_IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// The interval of a worker's stateless resets: after a restart it resets a thousand connections a
/// second. A reset is shorter than its cause, so it amplifies nothing and loops end; a spoofed
/// address gets at most a megabyte a second.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Returns the state that all workers share, with a mailbox per TUN queue of `settings`.
///
/// # Errors
/// The process is out of descriptors.
pub(super) fn build_shared(settings: &ServerSettings) -> Result<Arc<Shared>, StartError> {
    let mailboxes = (0..settings.queues.len())
        .map(|worker| {
            // A turn's packets are handed over as a whole.
            let packets = settings.handover_queue.max(settings.tun_reads_per_turn);
            Mailbox::new(packets).map_err(|source| StartError::System { worker, source })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Shared {
        table: AddressTable::new(settings.pool.last()),
        pool: settings.pool,
        mailboxes,
        gateway: settings.gateway,
        client_to_client: settings.client_to_client,
        forward_link_local: settings.forward_link_local.clone(),
        max_reassembly_bytes: settings.max_reassembly_bytes,
    }))
}

/// Returns one of the workers with `shared`, with its number, its port and its TUN queue. QUIC's
/// random numbers come from `seed` or, without one, from the system.
pub(super) fn build_worker<A: Admission, P: DatagramPort>(
    now: Instant,
    settings: &ServerSettings,
    admission: Arc<A>,
    shared: Arc<Shared>,
    (worker, port, tun): (usize, P, TunQueue),
    seed: Option<[u8; 32]>,
) -> ServerWorker<A, P> {
    let workers = shared.mailboxes.len();
    let limits = ConnectionLimits {
        idle: settings.idle_timeout.clamp(MIN_IDLE_TIMEOUT, IDLE_TIMEOUT),
        send: settings.datagram_queue.max(64) * (usize::from(settings.mtu) + 64),
        receive: RECEIVE_QUEUE,
    };
    let path = DataPath::new(Some(TunPort::new(tun)));
    // A kernel without the offload never refuses it.
    path.counters.segmentation_off(port.max_segments(now) == 1);
    let mut gate = HandshakeGate::new(settings.tls.clone(), limits);
    let mut config = EndpointConfig::new(gate.reset_key());
    config
        .cid_generator(move || Box::new(SteeredConnectionIds::new(worker, workers)))
        .min_reset_interval(RESET_INTERVAL)
        .rng_seed(seed);
    let endpoint = Endpoint::new(Arc::new(config), Some(gate.config(BASE_PACKET)), true, None);
    let engine = Engine::new(
        now,
        endpoint,
        port,
        Steering::new(worker, workers),
        path.counters.clone(),
    );
    let waker = shared.mailboxes[worker].waker().clone();
    let role = ServerApp {
        worker,
        admission,
        shared,
        gate,
        sessions: Sessions::default(),
        path,
        shares: FairShare::default(),
        tun_budget: settings.tun_reads_per_turn.max(1),
        peer_to_peer: PacketBatch::default(),
        to_workers: (0..workers).map(|_| PacketBatch::default()).collect(),
        from_workers: Default::default(),
        replaced: Vec::new(),
        connections: 0,
        handshakes_since_prefault: 0,
        unix_seconds: clock::unix_seconds,
    };
    Worker::new(engine, role, waker)
}
