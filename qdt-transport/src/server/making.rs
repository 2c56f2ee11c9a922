//! How a worker is made, before it has a thread: from the server's settings, a port and a TUN
//! queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qdt_host::tun::TunQueue;
use quinn_proto::{Endpoint, EndpointConfig};

use super::admission::Admission;
use super::app::{ServerApp, Shared};
use super::gate::Doorkeeper;
use super::mailbox::{Mailbox, PacketBatch};
use super::sessions::Sessions;
use super::table::AddressTable;
use super::worker::ServerWorker;
use super::{ServerSettings, StartError};
use crate::clock;
use crate::engine::Engine;
use crate::inner::DataPath;
use crate::path::{BASE_PACKET, IDLE, Limits};
use crate::queue::FairShare;
use crate::tun_port::TunPort;
use crate::udp::{DatagramPort, SteeredConnectionIds, Steering};
use crate::worker::Worker;

/// Datagrams received in a turn wait this long at most; they are read before the next turn.
const RECEIVE_QUEUE: usize = 4 << 20;
/// No client is given up sooner: Go clients say something every ten seconds, ours a third earlier
/// than this.
const IDLE_MIN: Duration = Duration::from_secs(15);
/// A worker sends one stateless reset in this time at most: after a restart it tells a thousand
/// connections a second that they are over. A reset is shorter than its cause, so it amplifies
/// nothing, a loop of them ends by itself, and what a forged address can be sent is a megabyte a
/// second.
const RESET_INTERVAL: Duration = Duration::from_millis(1);

/// Makes what all workers share, one mailbox for each TUN queue of `settings`.
///
/// # Errors
/// The process is out of descriptors.
pub(super) fn share(settings: &ServerSettings) -> Result<Arc<Shared>, StartError> {
    let mailboxes = (0..settings.queues.len())
        .map(|worker| {
            // What one turn reads is handed over as a whole.
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

/// Makes one of the workers that have `shared` in common, with its number, its port and its TUN.
/// QUIC's random numbers come from `seed`, or from the system where there is none.
pub(super) fn worker<A: Admission, P: DatagramPort>(
    now: Instant,
    settings: &ServerSettings,
    admission: Arc<A>,
    shared: Arc<Shared>,
    (worker, port, tun): (usize, P, TunQueue),
    seed: Option<[u8; 32]>,
) -> ServerWorker<A, P> {
    let workers = shared.mailboxes.len();
    let limits = Limits {
        idle: settings.idle_timeout.clamp(IDLE_MIN, IDLE),
        send: settings.datagram_queue.max(64) * (usize::from(settings.mtu) + 64),
        receive: RECEIVE_QUEUE,
    };
    let path = DataPath::new(Some(TunPort::new(tun)));
    // Kernels without it never refuse it.
    path.counters.segmentation_off(port.max_segments(now) == 1);
    let mut door = Doorkeeper::new(settings.tls.clone(), limits);
    let mut config = EndpointConfig::new(door.reset_key());
    config
        .cid_generator(move || Box::new(SteeredConnectionIds::new(worker, workers)))
        .min_reset_interval(RESET_INTERVAL)
        .rng_seed(seed);
    let endpoint = Endpoint::new(Arc::new(config), Some(door.config(BASE_PACKET)), true, None);
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
        door,
        sessions: Sessions::default(),
        path,
        shares: FairShare::default(),
        tun_budget: settings.tun_reads_per_turn.max(1),
        peer_to_peer: PacketBatch::default(),
        for_others: (0..workers).map(|_| PacketBatch::default()).collect(),
        from_others: Default::default(),
        replaced: Vec::new(),
        connections: 0,
        newcomers: 0,
        unix_seconds: clock::unix_seconds,
    };
    Worker::new(engine, role, waker)
}
