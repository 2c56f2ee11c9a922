//! The host's name servers while a tunnel is up, set and checked in parallel to everything else.
//!
//! Invariants: at most one call is in flight, a newer plan cancels it, and [`TIMEOUT`] ends it: a
//! resolver service that hangs delays neither the life-cycle nor a repair of the routes. Only the
//! restoration is awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use qdt_host::{Dns, DnsError, DnsPlan, DnsRepair, Host, HostResolvers};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::cause::Cause;

/// The limit for a call. [`Dns`] has shorter and more specific timeouts for its helper programs.
const TIMEOUT: Duration = Duration::from_secs(8);

/// The result of a call: the repair to log, or why the host does not use the tunnel's name servers.
pub(crate) type Answer = Result<Option<DnsRepair>, Cause>;

type Call =
    Pin<Box<dyn Future<Output = Result<Result<Option<DnsRepair>, DnsError>, Elapsed>> + Send>>;

/// The name servers of a tunnel.
pub(crate) struct TunnelDns<H> {
    host: H,
    tun: String,
    /// The current plan; while there is one, there may be something to restore.
    wanted: Option<DnsPlan>,
    call: Option<Call>,
    /// Whether the last call timed out, so that it is logged once.
    unanswered: bool,
}

impl<H> fmt::Debug for TunnelDns<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelDns")
            .field("tun", &self.tun)
            .field("wanted", &self.wanted)
            .field("in_flight", &self.call.is_some())
            .finish_non_exhaustive()
    }
}

impl<H: Host> TunnelDns<H> {
    pub(crate) fn new(host: H, tun: &str) -> Self {
        Self {
            host,
            tun: tun.to_owned(),
            wanted: None,
            call: None,
            unanswered: false,
        }
    }

    /// Starts to replace the host's name servers.
    pub(crate) fn set(&mut self, plan: DnsPlan) {
        // What a failed or late installation changed is restored too.
        self.wanted = Some(plan.clone());
        let host = self.host.clone();
        self.start(async move { host.dns().install(&plan).await.map(|()| None) });
    }

    /// Starts to check that the host still uses the tunnel's name servers, unless a call is in
    /// flight: then the next change of the host starts it.
    pub(crate) fn check(&mut self) {
        if self.call.is_some() {
            return;
        }
        if let Some(plan) = self.wanted.clone() {
            let host = self.host.clone();
            self.start(async move { host.dns().check_and_repair(&plan).await });
        }
    }

    fn start(
        &mut self,
        call: impl Future<Output = Result<Option<DnsRepair>, DnsError>> + Send + 'static,
    ) {
        // Cancels the previous call first.
        self.call = None;
        self.call = Some(Box::pin(timeout(TIMEOUT, call)));
    }

    /// Completes when the call in flight does; never while there is none. Cancel safe.
    pub(crate) async fn answered(&mut self) -> Answer {
        let Some(call) = &mut self.call else {
            return std::future::pending().await;
        };
        let ended = call.await;
        self.call = None;
        let was_unanswered = std::mem::replace(&mut self.unanswered, ended.is_err());
        match ended {
            Ok(result) => result.map_err(Cause::new),
            Err(_) if was_unanswered => Ok(None),
            Err(_) => Err(no_answer()),
        }
    }

    /// Restores the host's own name servers, where this run has replaced them.
    pub(crate) async fn remove(&mut self) -> Result<(), Cause> {
        self.call = None;
        if self.wanted.take().is_none() {
            return Ok(());
        }
        in_time(self.host.dns().remove(&self.tun)).await
    }

    /// Restores what a killed run left changed.
    pub(crate) async fn restore_leftovers(&self) -> Result<(), Cause> {
        in_time(self.host.dns().restore_leftovers(&self.tun)).await
    }

    /// Returns the name servers of the host outside the tunnel.
    pub(crate) fn outside(&self) -> HostResolvers {
        self.host.dns().host_resolvers()
    }
}

async fn in_time(call: impl Future<Output = Result<(), DnsError>>) -> Result<(), Cause> {
    match timeout(TIMEOUT, call).await {
        Ok(result) => result.map_err(Cause::new),
        Err(_) => Err(no_answer()),
    }
}

fn no_answer() -> Cause {
    Cause::new(format!(
        "dns: no answer from the resolver service within {TIMEOUT:?}"
    ))
}
