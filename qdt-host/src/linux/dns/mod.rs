//! [`Dns`] for Linux: through systemd-resolved where programs use it, otherwise in resolv.conf.
//!
//! Programs use systemd-resolved when resolv.conf names only its stub or nsswitch.conf lists its
//! module; that the service runs is not enough. systemd-resolved keeps name servers per interface
//! and drops them with it, so a killed run leaves nothing there; for the file see `resolv_conf`.
//! Restoring covers both backends, because the host may have switched since the installation.

mod nsswitch;
mod repairs;
mod resolv_conf;
mod resolved;
mod upstream;

use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use repairs::{Decision, Repairs};
use resolv_conf::ResolvConf;
use resolved::Resolved;
use tokio::time::Instant;

use super::{
    identity::RouteIdentity,
    owner, program,
    tun::{exists, interface_index},
};
use crate::{
    HostResolvers, check_interface_name,
    dns::{Dns, DnsError, DnsPlan, DnsRepair},
};

/// The addresses of systemd-resolved's stub (systemd-resolved.service(8)).
const STUBS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54)),
];
/// The interval of checks until a file that another program is writing stays the same.
const STABLE_INTERVAL: Duration = Duration::from_millis(200);
/// The most such checks.
const MAX_STABLE_CHECKS: usize = 5;
/// The least time between a failed installation through systemd-resolved and the next attempt.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The paths of the resolver's configuration. The default is that of Linux; tests use others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPaths {
    /// The file of the C library's resolver.
    pub resolv_conf: PathBuf,
    /// The backup of that file; exists only while a tunnel has changed it.
    pub backup: PathBuf,
    /// The file that lists the name services of the C library.
    pub nsswitch: PathBuf,
    /// The files in which stub resolvers list their upstream servers, in the format of resolv.conf,
    /// in order of preference.
    pub upstreams: Vec<PathBuf>,
    /// The socket that accepts connections while systemd-resolved runs.
    pub resolved_socket: PathBuf,
    /// The search path of `resolvectl`, in the format of `PATH`.
    pub programs: OsString,
}

impl Default for DnsPaths {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            backup: "/etc/resolv.conf.qdt-backup".into(),
            nsswitch: "/etc/nsswitch.conf".into(),
            upstreams: [
                "/run/systemd/resolve/resolv.conf",
                "/run/NetworkManager/no-stub-resolv.conf",
                "/run/dnsmasq/resolv.conf",
            ]
            .map(PathBuf::from)
            .to_vec(),
            resolved_socket: "/run/systemd/resolve/io.systemd.Resolve".into(),
            programs: program::search_path(),
        }
    }
}

/// The resolver configuration of this host. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct HostDns {
    paths: DnsPaths,
    state: Arc<Mutex<State>>,
}

/// What this run has installed.
#[derive(Debug, Default)]
struct State {
    /// The host's servers before the first installation.
    host_servers: Option<HostResolvers>,
    /// The servers of the last plan.
    tunnel_servers: Vec<IpAddr>,
    /// The backend of that plan; `None` after a failure and during an installation.
    backend: Option<Backend>,
    /// The time of the last failed or unfinished installation.
    failed_at: Option<Instant>,
    /// The last error that was returned.
    last_error: Option<String>,
    repairs: Repairs,
}

/// The resolver that programs of this host use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// The servers in resolv.conf.
    File,
    /// systemd-resolved.
    Resolved,
}

impl HostDns {
    /// Creates one with other paths.
    #[must_use]
    pub fn at(paths: DnsPaths) -> Self {
        Self {
            paths,
            state: Arc::default(),
        }
    }

    fn file(&self) -> ResolvConf<'_> {
        ResolvConf {
            path: &self.paths.resolv_conf,
            backup: &self.paths.backup,
        }
    }

    fn resolved(&self) -> Option<Resolved<'_>> {
        Resolved::running(&self.paths.resolved_socket, &self.paths.programs)
    }

    /// Returns systemd-resolved where it runs and programs use it.
    fn resolved_in_use(&self) -> Option<Resolved<'_>> {
        let nsswitch = fs::read_to_string(&self.paths.nsswitch).unwrap_or_default();
        if !nsswitch::asks_resolved(&nsswitch) {
            let named = upstream::parse(&self.file().current().ok()??).servers;
            let only_stubs = named.iter().all(|server| STUBS.contains(&server.ip()));
            if named.is_empty() || !only_stubs {
                return None;
            }
        }
        self.resolved()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic may leave the state outdated, never inconsistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn apply(&self, plan: &DnsPlan) -> Result<(), DnsError> {
        let (backend, result) = match self.resolved_in_use() {
            Some(resolved) => {
                self.record_attempt();
                (Backend::Resolved, resolved.install(plan).await)
            }
            None => (Backend::File, self.file().install(plan, is_alive)),
        };
        self.record(backend, &result);
        result
    }

    /// Records an attempt as failed until it completes: `retry` then also repeats one that its
    /// caller dropped.
    fn record_attempt(&self) {
        let mut state = self.state();
        state.backend = None;
        state.failed_at = Some(Instant::now());
    }

    fn record(&self, backend: Backend, result: &Result<(), DnsError>) {
        let mut state = self.state();
        state.backend = result.is_ok().then_some(backend);
        state.failed_at = result.is_err().then(Instant::now);
    }

    async fn repair(&self, plan: &DnsPlan) -> Result<Option<DnsRepair>, DnsError> {
        let backend = self.state().backend;
        match (backend, self.resolved_in_use()) {
            // systemd-resolved keeps what is set for the interface.
            (Some(Backend::Resolved), Some(_)) => Ok(None),
            (Some(Backend::File), None) => self.repair_file(plan).await,
            (Some(_), _) => {
                // Programs use another resolver now. Our file is restored first.
                let restored = self.file().restore(|device| device == plan.tun);
                self.apply(plan).await?;
                restored.map(|()| Some(DnsRepair::Installed))
            }
            (None, resolved) => self.retry(plan, resolved.is_none()).await,
        }
    }

    /// Repeats a failed installation: another tunnel may have released the file, or it became
    /// writable.
    async fn retry(&self, plan: &DnsPlan, cheap: bool) -> Result<Option<DnsRepair>, DnsError> {
        let failed_at = self.state().failed_at;
        let waits = |at: Instant| !cheap && at.elapsed() < RETRY_INTERVAL;
        if failed_at.is_none_or(waits) {
            return Ok(None);
        }
        self.apply(plan).await?;
        Ok(Some(DnsRepair::Installed))
    }

    async fn repair_file(&self, plan: &DnsPlan) -> Result<Option<DnsRepair>, DnsError> {
        if self.file().is_installed(plan)? {
            return Ok(None);
        }
        self.wait_until_stable().await?;
        let path = self.paths.resolv_conf.clone();
        let decision = self.state().repairs.decide(Instant::now().into_std());
        match decision {
            Decision::Restore | Decision::RestoreSilently => {}
            Decision::Wait => return Ok(None),
            Decision::Report => {
                return Err(DnsError::Contested {
                    path,
                    times: repairs::MAX_REPAIRS,
                    seconds: repairs::WINDOW.as_secs(),
                });
            }
        }
        let result = self.file().rewrite(plan, is_alive);
        self.record(Backend::File, &result);
        result?;
        Ok((decision == Decision::Restore).then_some(DnsRepair::PutBack { path }))
    }

    /// Waits until the file stays the same.
    async fn wait_until_stable(&self) -> Result<(), DnsError> {
        let mut seen = self.file().current()?;
        for _ in 0..MAX_STABLE_CHECKS {
            tokio::time::sleep(STABLE_INTERVAL).await;
            let current = self.file().current()?;
            if std::mem::replace(&mut seen, current) == seen {
                break;
            }
        }
        Ok(())
    }

    async fn revert(&self, tun: &str) -> Result<(), DnsError> {
        match self.resolved() {
            Some(resolved) if exists(tun) => resolved.revert(tun).await,
            _ => Ok(()),
        }
    }
}

impl Dns for HostDns {
    async fn install(&self, plan: &DnsPlan) -> Result<(), DnsError> {
        check_interface_name(&plan.tun)?;
        if plan.servers.is_empty() {
            return Err(DnsError::Empty);
        }
        let host_servers = self.host_resolvers();
        {
            let mut state = self.state();
            state.host_servers.get_or_insert(host_servers);
            state.tunnel_servers.clone_from(&plan.servers);
        }
        let result = self.apply(plan).await;
        self.state().last_error = result.as_ref().err().map(ToString::to_string);
        result
    }

    async fn remove(&self, tun: &str) -> Result<(), DnsError> {
        check_interface_name(tun)?;
        *self.state() = State::default();
        let restored = self.file().restore(|device| device == tun);
        self.revert(tun).await?;
        restored
    }

    async fn restore_leftovers(&self, tun: &str) -> Result<(), DnsError> {
        check_interface_name(tun)?;
        let restored = self
            .file()
            .restore(|device| device == tun || !is_alive(device));
        self.revert(tun).await?;
        restored
    }

    async fn check_and_repair(&self, plan: &DnsPlan) -> Result<Option<DnsRepair>, DnsError> {
        check_interface_name(&plan.tun)?;
        let result = self.repair(plan).await;
        let mut state = self.state();
        match &result {
            Ok(Some(_)) => state.last_error = None,
            Ok(None) => {}
            Err(error) => {
                let text = Some(error.to_string());
                if std::mem::replace(&mut state.last_error, text.clone()) == text {
                    return Ok(None);
                }
            }
        }
        result
    }

    fn host_resolvers(&self) -> HostResolvers {
        let (host_servers, tunnel_servers) = {
            let state = self.state();
            (state.host_servers.clone(), state.tunnel_servers.clone())
        };
        let host = self.file().without_tunnel().ok().flatten();
        let host = upstream::parse(&host.unwrap_or_default());
        let uses_stub = self.resolved_in_use().is_some();
        upstream::choose(
            host,
            uses_stub,
            &self.paths.upstreams,
            host_servers,
            &tunnel_servers,
        )
    }
}

/// Returns whether a running client has this device or is about to open it again.
fn is_alive(device: &str) -> bool {
    exists(device) || owner::is_owned(RouteIdentity::of(device))
}
