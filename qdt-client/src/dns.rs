//! The host's name servers while a tunnel is up, set and checked in parallel to everything else.
//!
//! Invariants: at most one call is in flight, a newer plan takes the place of an older one's call,
//! and a call has [`LIMIT`]: a resolver service that hangs delays neither the life-cycle nor a
//! repair of the routes. Only giving back is waited for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use qdt_host::{Dns, DnsError, DnsPlan, DnsRepair, Host, HostResolvers};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::cause::Cause;

/// How long a call may take. [`Dns`] has shorter limits of its own for the programs that it asks,
/// and says what it missed; this one only keeps the client going.
const LIMIT: Duration = Duration::from_secs(8);

/// What a call did: the repair to log, or why the host does not ask the tunnel's name servers.
pub(crate) type Answer = Result<Option<DnsRepair>, Cause>;

type Call =
    Pin<Box<dyn Future<Output = Result<Result<Option<DnsRepair>, DnsError>, Elapsed>> + Send>>;

/// The name servers of one tunnel's host.
pub(crate) struct TunnelDns<H> {
    host: H,
    tun: String,
    /// What was asked for last; something may have to be given back while there is one.
    wanted: Option<DnsPlan>,
    call: Option<Call>,
    /// Whether the last call had no answer, so that it is said once.
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
        // An install that fails half-way, or too late, is given back as well.
        self.wanted = Some(plan.clone());
        let host = self.host.clone();
        self.start(async move { host.dns().install(&plan).await.map(|()| None) });
    }

    /// Starts to check that the host still asks the tunnel's name servers, unless a call is in
    /// flight: then the next report of a change starts it.
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
        // The call before it ends first.
        self.call = None;
        self.call = Some(Box::pin(timeout(LIMIT, call)));
    }

    /// Completes when the call in flight does; never while there is none. Dropping the future loses
    /// nothing.
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

    /// Gives the host its own name servers back, where this run has replaced them.
    pub(crate) async fn remove(&mut self) -> Result<(), Cause> {
        self.call = None;
        if self.wanted.take().is_none() {
            return Ok(());
        }
        in_time(self.host.dns().remove(&self.tun)).await
    }

    /// Gives back what a killed run left changed.
    pub(crate) async fn restore_leftovers(&self) -> Result<(), Cause> {
        in_time(self.host.dns().restore_leftovers(&self.tun)).await
    }

    /// Returns the name servers that the host has without the tunnel.
    pub(crate) fn outside(&self) -> HostResolvers {
        self.host.dns().host_resolvers()
    }
}

async fn in_time(call: impl Future<Output = Result<(), DnsError>>) -> Result<(), Cause> {
    match timeout(LIMIT, call).await {
        Ok(result) => result.map_err(Cause::new),
        Err(_) => Err(no_answer()),
    }
}

fn no_answer() -> Cause {
    Cause::new(format!(
        "dns: no answer from the resolver service within {LIMIT:?}"
    ))
}
