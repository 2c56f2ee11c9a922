//! Runs the life-cycle: feeds it events and time, and carries its actions out one by one.
//!
//! What always holds here: no decision. The driver waits for a signal, a report of the packet
//! worker, the end of a look-up or the life-cycle's own timer, hands it in, and does what comes
//! out, in order, until the exit. Between two of them, whenever the host changed, it puts back what
//! others removed of what it carried out last: device and routes first, name servers in parallel to
//! all else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use qdt_host::{Host, Watch};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use crate::cause::Cause;
use crate::dns::Answer;
use crate::failure::HostFailure;
use crate::host::{CleanUpError, RepairError, TunnelHost};
use crate::link::{Link, LinkGone};
use crate::repair::Repairs;
use crate::report;
use crate::resolver::Resolver;
use crate::tunnel::{Action, Event, Outcome, Tunnel};
use qdt_transport::{ClientCommand, ClientEvent};

/// How long the end of an action waits for the host's resolver service: one that works has answered
/// by then, and "connected" in the log means that names go through the tunnel. One that does not is
/// waited for in parallel to everything else.
const DNS_GRACE: Duration = Duration::from_millis(500);

/// Runs a tunnel until its exit, which `stop` asks for when it completes. The host is put back and
/// the worker stopped when this returns.
pub async fn drive<K: Link, H: Host>(
    tunnel: Tunnel,
    link: K,
    reports: UnboundedReceiver<ClientEvent>,
    host: TunnelHost<H>,
    resolver: Resolver,
    stop: impl Future<Output = ()>,
) -> Outcome {
    // Before the first change, so that none of others is missed.
    let watch = host.watch();
    for failure in host.remove_leftovers().await {
        log_clean_up(&failure);
    }
    let (resolved, found) = mpsc::unbounded_channel();
    Driver {
        tunnel,
        link,
        host,
        resolver,
        resolved,
        repairs: Repairs::default(),
    }
    .run(reports, found, watch, stop)
    .await
}

struct Driver<K, H> {
    tunnel: Tunnel,
    link: K,
    host: TunnelHost<H>,
    resolver: Resolver,
    resolved: UnboundedSender<Result<Vec<SocketAddr>, Cause>>,
    repairs: Repairs,
}

impl<K: Link, H: Host> Driver<K, H> {
    async fn run(
        mut self,
        mut reports: UnboundedReceiver<ClientEvent>,
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
            if let Some(outcome) = self.carry_out_all().await {
                return outcome;
            }
            let due = self.tunnel.poll_timeout().map(Instant::from_std);
            event = tokio::select! {
                biased;
                () = &mut stop => Some(Event::Signal),
                result = found.recv() => result.map(Event::Resolved),
                report = reports.recv() => Some(match report {
                    Some(report) => Event::Link(report),
                    None => Event::HostFailed(worker_gone()),
                }),
                () = at(due) => None,
                answer = self.host.dns_answered() => {
                    log_dns(answer);
                    None
                }
                _ = watch.changed() => tokio::select! {
                    biased;
                    // A helper that hangs (`nft`) is not waited for: what was set is removed next.
                    () = &mut stop => Some(Event::Signal),
                    event = self.repair() => event,
                },
            };
        }
    }

    /// Puts back what others removed from the host; an event when that is impossible.
    async fn repair(&mut self) -> Option<Event> {
        let now = Instant::now().into_std();
        if self.repairs.may_go_on(now) {
            let repaired = self.host.repair().await;
            for warning in &repaired.warnings {
                warn!(err = %warning, "routes");
            }
            for warning in &repaired.settled {
                info!(was = %warning, "routes: this is no longer so");
            }
            self.repairs.done(now, &repaired.restored);
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

    async fn carry_out_all(&mut self) -> Option<Outcome> {
        while let Some(action) = self.tunnel.poll_action() {
            if let Action::Exit(outcome) = action {
                return Some(outcome);
            }
            if let Err(failure) = self.carry_out(action).await {
                self.tunnel
                    .handle_event(Instant::now().into_std(), Event::HostFailed(failure));
            }
        }
        None
    }

    async fn carry_out(&mut self, action: Action) -> Result<(), HostFailure> {
        match action {
            Action::Resolve => self.start_resolver(),
            Action::Dial(dial) => self.send(ClientCommand::Dial(dial))?,
            Action::Adopt(attempt) => self.send(ClientCommand::Adopt(attempt))?,
            Action::Hangup(attempt) => self.send(ClientCommand::Hangup(attempt))?,
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
            // A worker that is gone has stopped.
            Action::StopLink => drop(self.link.send(ClientCommand::Stop)),
            Action::Report(report) => report::log(&report),
            Action::Exit(_) => {}
        }
        Ok(())
    }

    fn send(&mut self, command: ClientCommand) -> Result<(), HostFailure> {
        self.link.send(command).map_err(|LinkGone| worker_gone())
    }

    fn start_resolver(&self) {
        let (resolver, resolved) = (Arc::clone(&self.resolver), self.resolved.clone());
        let outside = self.host.name_servers_outside();
        tokio::task::spawn_blocking(move || {
            // Nobody listens any more once the tunnel has stopped.
            let _ = resolved.send(resolver(outside));
        });
    }
}

fn worker_gone() -> HostFailure {
    HostFailure::Worker(Cause::new(LinkGone))
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
