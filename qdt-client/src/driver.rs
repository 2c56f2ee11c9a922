//! The driver of the life-cycle: feeds it events and time, and executes its actions.
//!
//! Invariants: it makes no decision. It waits for a signal, an event of the packet worker, the end
//! of a look-up or the life-cycle's timer, passes it on, and executes the resulting actions in
//! order until the exit. In between, whenever the host changed, it restores what other programs
//! removed: device and routes first, name servers in parallel.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use qdt_host::{Host, Watch};
use qdt_transport::{ClientCommand, ClientEvent};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::cause::Cause;
use crate::dns::Answer;
use crate::failure::HostFailure;
use crate::host::{CleanUpError, RepairError, TunnelHost};
use crate::repair::Repairs;
use crate::report;
use crate::resolver::Resolver;
use crate::tunnel::{Action, Event, Outcome, Tunnel};
use crate::worker::{WorkerGone, WorkerHandle};

/// The time that an action waits for the host's resolver service, so that "connected" in the log
/// means that names are resolved through the tunnel. A slower service completes in parallel.
const DNS_GRACE: Duration = Duration::from_millis(500);

/// Runs a tunnel until its exit; the completion of `stop` requests it. On return the host is
/// restored and the worker stopped.
pub async fn drive<W: WorkerHandle, H: Host>(
    tunnel: Tunnel,
    worker: W,
    events: UnboundedReceiver<ClientEvent>,
    host: TunnelHost<H>,
    resolver: Resolver,
    stop: impl Future<Output = ()>,
) -> Outcome {
    // Before the first change, so that no change of another program is missed.
    let watch = host.watch();
    for failure in host.remove_leftovers().await {
        log_clean_up(&failure);
    }
    let (resolved, found) = mpsc::unbounded_channel();
    Driver {
        tunnel,
        worker,
        host,
        resolver,
        resolved,
        repairs: Repairs::default(),
    }
    .run(events, found, watch, stop)
    .await
}

struct Driver<W, H> {
    tunnel: Tunnel,
    worker: W,
    host: TunnelHost<H>,
    resolver: Resolver,
    resolved: UnboundedSender<Result<Vec<SocketAddr>, Cause>>,
    repairs: Repairs,
}

impl<W: WorkerHandle, H: Host> Driver<W, H> {
    async fn run(
        mut self,
        mut events: UnboundedReceiver<ClientEvent>,
        mut found: UnboundedReceiver<Result<Vec<SocketAddr>, Cause>>,
        mut watch: impl Watch,
        stop: impl Future<Output = ()>,
    ) -> Outcome {
        let mut stop = std::pin::pin!(stop);
        let mut event = Some(Event::Started);
        loop {
            let now = Instant::now().into_std();
            if let Some(event) = event.take() {
                self.tunnel.handle_event(now, event);
            }
            if self.tunnel.poll_timeout().is_some_and(|due| due <= now) {
                self.tunnel.handle_timeout(now);
            }
            if let Some(outcome) = self.execute_all().await {
                return outcome;
            }
            let due = self.tunnel.poll_timeout().map(Instant::from_std);
            event = tokio::select! {
                biased;
                () = &mut stop => Some(Event::Signal),
                result = found.recv() => result.map(Event::Resolved),
                event = events.recv() => Some(match event {
                    Some(event) => Event::Worker(event),
                    None => Event::HostFailed(worker_gone()),
                }),
                () = at(due) => None,
                answer = self.host.dns_answered() => {
                    log_dns(answer);
                    None
                }
                _ = watch.changed() => tokio::select! {
                    biased;
                    // Does not wait for a helper program that hangs (`nft`).
                    () = &mut stop => Some(Event::Signal),
                    event = self.repair() => event,
                },
            };
        }
    }

    /// Restores what other programs removed; returns an event where that is impossible.
    async fn repair(&mut self) -> Option<Event> {
        let now = Instant::now().into_std();
        if self.repairs.is_allowed(now) {
            let repaired = self.host.repair().await;
            for warning in &repaired.warnings {
                warn!(err = %warning, "routes");
            }
            for warning in &repaired.cleared {
                info!(was = %warning, "routes: this is no longer so");
            }
            self.repairs.record(now, &repaired.restored);
            match repaired.failure {
                None => self.repairs.succeeded(),
                Some(RepairError::Failed(cause)) => self.repairs.failed(cause),
                Some(gone @ RepairError::Gone(_)) => {
                    return Some(Event::HostFailed(HostFailure::Tun(Cause::new(gone))));
                }
            }
        }
        self.host.check_dns();
        None
    }

    async fn execute_all(&mut self) -> Option<Outcome> {
        while let Some(action) = self.tunnel.poll_action() {
            if let Action::Exit(outcome) = action {
                return Some(outcome);
            }
            if let Err(failure) = self.execute(action).await {
                self.tunnel
                    .handle_event(Instant::now().into_std(), Event::HostFailed(failure));
            }
        }
        None
    }

    async fn execute(&mut self, action: Action) -> Result<(), HostFailure> {
        match action {
            Action::Resolve => self.start_resolver(),
            Action::Dial(dial) => self.send(ClientCommand::Dial(dial))?,
            Action::Adopt(attempt) => self.send(ClientCommand::Adopt(attempt))?,
            Action::Close(attempt) => self.send(ClientCommand::Close(attempt))?,
            Action::SetTun(plan) => {
                if let Some(queue) = self.host.set_tun(&plan).await? {
                    self.send(ClientCommand::AttachTun(queue))?;
                }
            }
            Action::SetRoutes(plan) => {
                for warning in self.host.set_routes(&plan).await? {
                    warn!(err = %warning, "routes");
                }
            }
            Action::SetDns(Some(plan)) => {
                self.host.set_dns(&plan);
                if let Ok(answer) = timeout(DNS_GRACE, self.host.dns_answered()).await {
                    log_dns(answer);
                }
            }
            Action::SetDns(None) => log_if_failed(self.host.remove_dns().await),
            Action::RemoveRoutes => log_if_failed(self.host.remove_routes().await),
            // A worker that is gone has stopped already.
            Action::StopWorker => drop(self.worker.send(ClientCommand::Stop)),
            Action::Report(report) => report::log(&report),
            Action::Exit(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, command: ClientCommand) -> Result<(), HostFailure> {
        self.worker
            .send(command)
            .map_err(|WorkerGone| worker_gone())
    }

    fn start_resolver(&self) {
        let (resolver, resolved) = (Arc::clone(&self.resolver), self.resolved.clone());
        let outside = self.host.name_servers_outside();
        tokio::task::spawn_blocking(move || {
            // After the exit there is no receiver.
            let _ = resolved.send(resolver(outside));
        });
    }
}

fn worker_gone() -> HostFailure {
    HostFailure::Worker(Cause::new(WorkerGone))
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn log_dns(answer: Answer) {
    match answer {
        Ok(None) => {}
        Ok(Some(repair)) => {
            warn!(restored = %repair, "the host did not ask the tunnel's resolvers; it does now");
        }
        Err(cause) => error!(err = %cause, "set dns failed"),
    }
}

fn log_if_failed(result: Result<(), CleanUpError>) {
    if let Err(failure) = result {
        log_clean_up(&failure);
    }
}

fn log_clean_up(failure: &CleanUpError) {
    match failure {
        CleanUpError::Routes(_) => error!(err = %failure, "route cleanup failed"),
        CleanUpError::Dns(_) => error!(err = %failure, "dns cleanup failed"),
    }
}
