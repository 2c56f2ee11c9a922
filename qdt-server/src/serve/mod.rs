//! The life of the server: build everything, serve, reload, drain.
//!
//! Building goes from what changes nothing to what changes the host: certificate and addresses
//! first, then the TUN device and the workers (which bind the UDP port), then the device's address,
//! then NAT. An error before NAT leaves the host as it was, because the device goes with the
//! process. The door opens last, when everything behind it is there: what arrives before waits at
//! the UDP port.
//!
//! What always holds while serving: a packet worker that stops by itself ends the server with an
//! error - a supervisor starts it anew, which is better than a server that is half alive;
//! everything that was put into the host's firewall is taken out again on every way out.

mod addresses;
mod error;
mod followed_route;
mod heartbeat;
mod nat;
mod overlap;
mod reload;
mod settings;
mod status;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ipnet::IpNet;
use qdt_host::{Host, TunOpener, TunSpec};
use qdt_program::{LogHandle, Signal, Signals, dropped_log_lines};
use qdt_proto::datagram::OVERHEAD;
use qdt_transport::{Counters, ServerTls, ServerWorkers, WorkerCounters, WorkerExit};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tracing::{error, info};

use crate::address::{AddressPool, TicketSealer};
use crate::admission::AdmissionController;
use crate::config::ServerConfig;
use crate::control::{ControlServer, Pages, PeerFilter};
use crate::metrics::{Metrics, Snapshot};
use heartbeat::Turning;
use nat::Nat;
use overlap::OverlapWatch;
use status::HostStatus;
use upkeep::{Device, Upkeep};

pub use error::ServeError;
pub use overlap::Overlap;

/// A running server.
#[derive(Debug)]
pub struct Server<H> {
    config: ServerConfig,
    path: PathBuf,
    cpus: usize,
    log: LogHandle,
    tls: ServerTls,
    admission: Arc<AdmissionController>,
    workers: Option<ServerWorkers>,
    exits: UnboundedReceiver<(usize, WorkerExit)>,
    control: ControlServer,
    upkeep: Upkeep<H>,
    address_care: JoinHandle<()>,
    heartbeat: JoinHandle<()>,
}

impl<H: Host> Server<H> {
    /// Starts a server on `host` with `config`, which came from `path` on a machine with `cpus`
    /// CPUs, and whose certificate is `tls`.
    ///
    /// # Errors
    /// [`ServeError`]; the host is as it was before.
    pub async fn start(
        host: H,
        config: ServerConfig,
        tls: ServerTls,
        path: PathBuf,
        cpus: usize,
        log: LogHandle,
    ) -> Result<Self, ServeError> {
        let listen = settings::listen_address(&config.transport)?;
        let control_addresses = settings::control_addresses(&config.control);
        let (network, gateway) = (config.addresses.pool.trunc(), config.addresses.gateway);
        let pool = AddressPool::new(network, gateway)?;
        let overlaps = OverlapWatch::start(host.clone(), network, &config.host.tun_name)
            .await
            .map_err(ServeError::Overlap)?;
        let admission = Arc::new(AdmissionController::new(
            settings::admission(&config),
            pool,
            config.credentials.token.clone(),
            TicketSealer::new(tls.secrets().ticket_key(), None),
            Instant::now(),
            SystemTime::now,
        ));

        let flows = host.conntrack();
        let tun = host.tun().open(&TunSpec {
            name: config.host.tun_name.clone(),
            queues: config.transport.send_workers,
            offload: true,
        })?;
        let (tun_name, queues) = (tun.name, tun.queues.len());
        let (exited, exits) = unbounded_channel();
        let workers = ServerWorkers::start(
            settings::transport(&config, listen, tls.clone(), tun.queues, admission.pool()),
            admission.clone(),
            move |worker, exit| {
                // The receiver goes only when the server does.
                let _ = exited.send((worker, exit));
            },
        )?;
        let device = Device {
            host: host.clone(),
            name: tun_name.clone(),
            address: IpNet::new_assert(gateway, network.prefix_len()),
            // A packet of the device fits one datagram.
            mtu: u32::from(config.transport.mtu) - OVERHEAD as u32,
        };
        let status = Arc::new(HostStatus::default());
        // Before the first change, so that none of others is missed.
        let watch = host.watch();
        device.set_up().await?;
        let nat = Nat::install(host, &config.host, &tun_name, network, status.clone()).await?;
        let upkeep = Upkeep::start(device, nat, overlaps, status.clone(), watch);

        let filter = Arc::new(PeerFilter::new(network, gateway));
        let counters = workers.counters();
        let metrics = Metrics::new({
            let (admission, filter, status) = (admission.clone(), filter.clone(), status.clone());
            move || snapshot(&admission, &filter, &status, &counters)
        });
        let turning = Turning::new();
        let heartbeat = tokio::spawn(heartbeat::watch(workers.heartbeat(), turning.clone()));
        let pages = Pages::new(metrics, {
            let (admission, status) = (admission.clone(), status.clone());
            move || admission.is_ready() && !status.nat_missing() && turning.all()
        });
        let control = ControlServer::start(control_addresses, &pages, &filter);
        let address_care = tokio::spawn(addresses::take_care(admission.clone(), status, flows));
        admission.set_ready(true);
        workers.open();
        info!(
            addr = %workers.local_addr(),
            tun = tun_name,
            pool = %network,
            %gateway,
            workers = queues,
            shards = admission.sessions().shards(),
            pin = tls.pin(),
            "server started"
        );
        Ok(Self {
            config,
            path,
            cpus,
            log,
            tls,
            admission,
            workers: Some(workers),
            exits,
            control,
            upkeep,
            address_care,
            heartbeat,
        })
    }

    /// Serves until a signal ends it or it cannot go on, and leaves the host as it was before.
    ///
    /// # Errors
    /// [`ServeError::Worker`] or [`ServeError::Task`] if a packet worker or a task stopped by
    /// itself.
    pub async fn run(mut self, signals: &mut Signals) -> Result<(), ServeError> {
        let result = loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop(name) => {
                        info!(signal = name, sessions = self.admission.sessions().len(), "draining");
                        break Ok(());
                    }
                    Signal::Reload => self.reload(),
                },
                Some((worker, exit)) = self.exits.recv() => break Err(worker_failure(worker, exit)),
                ended = &mut self.address_care => {
                    break Err(ServeError::Task { task: "frees addresses", error: ended.err() });
                }
                ended = &mut self.heartbeat => {
                    break Err(ServeError::Task { task: "watches the workers", error: ended.err() });
                }
                error = self.upkeep.ended() => {
                    break Err(ServeError::Task { task: "looks after the host", error });
                }
                roles = self.control.ended() => {
                    error!(serves = %roles, "control listener ended");
                }
            }
        };
        let reason = match &result {
            Ok(()) => "server shutting down",
            Err(_) => "server failed",
        };
        self.drain(reason).await;
        result
    }

    /// Tells every client why and takes back what was changed on the host.
    async fn drain(mut self, reason: &'static str) {
        self.admission.set_ready(false);
        // Workers that are told to stop answer no more.
        self.heartbeat.abort();
        if let Some(workers) = self.workers.take() {
            // Waits for threads.
            let drained = tokio::task::spawn_blocking(move || workers.drain(reason));
            if let Err(error) = drained.await {
                error!(err = %error, "draining failed");
            }
        }
        self.address_care.abort();
        self.upkeep.stop().await;
    }
}

/// Why the server ends when a worker does; logged under the message that pipelines know.
fn worker_failure(worker: usize, exit: WorkerExit) -> ServeError {
    let reason = match exit {
        WorkerExit::TunRead(error) => {
            error!(err = %error, worker, "tun read error");
            format!("tun read: {error}")
        }
        WorkerExit::Failed(reason) => reason,
        WorkerExit::Drained => "it ended without being told to".into(),
        WorkerExit::Panicked => "it panicked, which is a bug in qdt-server".into(),
    };
    ServeError::Worker { worker, reason }
}

fn snapshot(
    admission: &AdmissionController,
    filter: &PeerFilter,
    host: &HostStatus,
    workers: &[Arc<WorkerCounters>],
) -> Snapshot {
    let mut traffic = Counters::default();
    workers
        .iter()
        .for_each(|worker| worker.add_to(&mut traffic));
    let (guess_entries, handshake_entries) = admission.limiter_entries();
    Snapshot {
        sessions: admission.sessions().len(),
        traffic,
        handshakes: admission.counters().snapshot().collect(),
        addresses_held: admission.held_addresses(),
        addresses_free: admission.free_addresses(),
        guess_entries,
        handshake_entries,
        control_refused: filter.refused(),
        conntrack_failures: host.conntrack_failures(),
        nat_missing: host.nat_missing(),
        host_repairs: host.repairs(),
        log_lines_dropped: dropped_log_lines(),
    }
}
