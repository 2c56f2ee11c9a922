//! The life cycle of the server: start, run, reload, drain.
//!
//! The start goes from steps that change nothing to steps that change the host: certificate and
//! addresses, the TUN device and the workers (which bind the UDP port), the device's address, NAT.
//! An error before NAT leaves the host unchanged, because the device goes with the process.
//! Admission opens last; packets that arrive earlier wait in the UDP socket.
//!
//! Invariants: a packet worker that stops unasked ends the server with an error, because a
//! supervisor's restart is better than half a server; every way out removes the firewall rules.

mod address_reaper;
mod default_route;
mod error;
mod nat;
mod overlap;
mod reload;
mod repair;
mod settings;
mod status;
mod watchdog;

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
use nat::Nat;
use overlap::OverlapWatch;
use repair::{Device, RepairTask};
use status::HostStatus;
use watchdog::WorkerHealth;

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
    repair: RepairTask<H>,
    address_reaper: JoinHandle<()>,
    watchdog: JoinHandle<()>,
}

impl<H: Host> Server<H> {
    /// Starts a server on `host`, which has `cpus` CPUs, with `config` from `path` and the
    /// certificate `tls`.
    ///
    /// # Errors
    /// [`ServeError`]; the host is unchanged.
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
                // The receiver lives as long as the server.
                let _ = exited.send((worker, exit));
            },
        )?;
        let device = Device {
            host: host.clone(),
            name: tun_name.clone(),
            address: IpNet::new_assert(gateway, network.prefix_len()),
            // A packet from the device fits one datagram.
            mtu: u32::from(config.transport.mtu) - OVERHEAD as u32,
        };
        let status = Arc::new(HostStatus::default());
        // Before the first change, so that it misses none by other programs.
        let watch = host.watch();
        device.set_up().await?;
        let nat = Nat::install(host, &config.host, &tun_name, network, status.clone()).await?;
        let repair = RepairTask::start(device, nat, overlaps, status.clone(), watch);

        let filter = Arc::new(PeerFilter::new(network, gateway));
        let counters = workers.counters();
        let metrics = Metrics::new({
            let (admission, filter, status) = (admission.clone(), filter.clone(), status.clone());
            move || snapshot(&admission, &filter, &status, &counters)
        });
        let health = WorkerHealth::new();
        let watchdog = tokio::spawn(watchdog::run(workers.heartbeat(), health.clone()));
        let pages = Pages::new(metrics, {
            let (admission, status) = (admission.clone(), status.clone());
            move || admission.is_ready() && !status.nat_missing() && health.all_run()
        });
        let control = ControlServer::start(control_addresses, &pages, &filter);
        let address_reaper = tokio::spawn(address_reaper::run(admission.clone(), status, flows));
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
            repair,
            address_reaper,
            watchdog,
        })
    }

    /// Serves until a signal or a failure, then drains and restores the host.
    ///
    /// # Errors
    /// [`ServeError::Worker`] or [`ServeError::Task`] if a packet worker or a task stopped unasked.
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
                ended = &mut self.address_reaper => {
                    break Err(ServeError::Task { task: "cleans addresses", error: ended.err() });
                }
                ended = &mut self.watchdog => {
                    break Err(ServeError::Task { task: "watches the workers", error: ended.err() });
                }
                error = self.repair.ended() => {
                    break Err(ServeError::Task { task: "repairs the host", error });
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

    /// Closes every session with `reason` and removes the server's changes to the host.
    async fn drain(mut self, reason: &'static str) {
        self.admission.set_ready(false);
        // Stopping workers no longer wake.
        self.watchdog.abort();
        if let Some(workers) = self.workers.take() {
            let drained = tokio::task::spawn_blocking(move || workers.drain(reason));
            if let Err(error) = drained.await {
                error!(err = %error, "draining failed");
            }
        }
        self.address_reaper.abort();
        self.repair.stop().await;
    }
}

/// Returns the error for a worker that stopped; log pipelines match on `tun read error`.
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
