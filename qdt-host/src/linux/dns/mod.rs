//! Name servers of a client's host: through systemd-resolved where that is whom programs ask, else
//! in /etc/resolv.conf.
//!
//! systemd-resolved keeps name servers per interface and forgets them with it, so a killed run
//! leaves nothing there. The file is another matter: see `resolv_conf`. That systemd-resolved runs
//! says nothing about whom programs ask: they do when resolv.conf names only its stub, or when
//! nsswitch.conf sends them there. Giving back asks both ways, since what was used before may not
//! be what would be used now.

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
/// A file that another program changed is looked at again after this time, until it stays the same:
/// it may be in the middle of writing it.
const SETTLING: Duration = Duration::from_millis(200);
/// How often it is looked at again at most.
const SETTLING_LOOKS: usize = 5;
/// What failed is not tried again before this time is over.
const RETRY: Duration = Duration::from_secs(30);

/// Where the name servers of this host are kept. The default is what every Linux has; tests give
/// others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPaths {
    /// The file of the C library's resolver.
    pub resolv_conf: PathBuf,
    /// What stood in that file before a tunnel changed it; exists only while one has.
    pub backup: PathBuf,
    /// The file that says whom the C library asks for names.
    pub nsswitch: PathBuf,
    /// The files in which programs with a stub on this host keep the servers that the stub asks, in
    /// the form of a resolv.conf, best first.
    pub upstreams: Vec<PathBuf>,
    /// The socket that accepts connections while systemd-resolved runs.
    pub resolved_socket: PathBuf,
    /// The directories in which `resolvectl` is looked for, as in `PATH`.
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

/// The name servers of this host. Clones know of each other's installs.
#[derive(Debug, Clone, Default)]
pub struct HostDns {
    paths: DnsPaths,
    state: Arc<Mutex<State>>,
}

/// What this run has done.
#[derive(Debug, Default)]
struct State {
    /// The host's servers before the first install.
    before: Option<HostResolvers>,
    /// The servers of the last plan.
    own: Vec<IpAddr>,
    /// How that plan was installed; `None` after a failure, and while an answer is awaited.
    asked: Option<Asked>,
    /// When it failed last, or was asked for without an answer yet.
    failed_at: Option<Instant>,
    said: Option<String>,
    repairs: Repairs,
}

/// Whom the programs of this host ask for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// The servers in resolv.conf.
    File,
    /// systemd-resolved.
    Resolved,
}

impl HostDns {
    /// A host that keeps its name servers elsewhere.
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

    /// systemd-resolved, where it runs and programs ask it.
    fn asked_resolved(&self) -> Option<Resolved<'_>> {
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
        // A state that a panic interrupted is only less well informed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn apply(&self, plan: &DnsPlan) -> Result<(), DnsError> {
        let (asked, result) = match self.asked_resolved() {
            Some(resolved) => {
                self.record_attempt();
                (Asked::Resolved, resolved.install(plan).await)
            }
            None => (Asked::File, self.file().install(plan, is_alive)),
        };
        self.record(asked, &result);
        result
    }

    /// Counts an attempt as failed until it has an answer: a caller that drops it is one that had
    /// none, and `retry` has to find that.
    fn record_attempt(&self) {
        let mut state = self.state();
        state.asked = None;
        state.failed_at = Some(Instant::now());
    }

    fn record(&self, asked: Asked, result: &Result<(), DnsError>) {
        let mut state = self.state();
        state.asked = result.is_ok().then_some(asked);
        state.failed_at = result.is_err().then(Instant::now);
    }

    async fn repair(&self, plan: &DnsPlan) -> Result<Option<DnsRepair>, DnsError> {
        let asked = self.state().asked;
        match (asked, self.asked_resolved()) {
            // Set for the interface, and kept there.
            (Some(Asked::Resolved), Some(_)) => Ok(None),
            (Some(Asked::File), None) => self.repair_file(plan).await,
            (Some(_), _) => {
                // Programs ask somebody else now. Where the file was ours, its backup is done with.
                let given_back = self.file().restore(|device| device == plan.tun);
                self.apply(plan).await?;
                given_back.map(|()| Some(DnsRepair::Installed))
            }
            (None, resolved) => self.retry(plan, resolved.is_none()).await,
        }
    }

    /// Tries again what failed: another tunnel may have left the file, or it became writable.
    async fn retry(&self, plan: &DnsPlan, cheap: bool) -> Result<Option<DnsRepair>, DnsError> {
        let failed_at = self.state().failed_at;
        let waits = |at: Instant| !cheap && at.elapsed() < RETRY;
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
        self.settled().await?;
        let path = self.paths.resolv_conf.clone();
        let decision = self.state().repairs.decide(Instant::now().into_std());
        match decision {
            Decision::PutBack | Decision::PutBackSilently => {}
            Decision::Wait => return Ok(None),
            Decision::Complain => {
                return Err(DnsError::Contested {
                    path,
                    times: repairs::MOST,
                    seconds: repairs::WINDOW.as_secs(),
                });
            }
        }
        let result = self.file().put_back(plan, is_alive);
        self.record(Asked::File, &result);
        result?;
        Ok((decision == Decision::PutBack).then_some(DnsRepair::PutBack { path }))
    }

    /// Waits until the file stays as it is.
    async fn settled(&self) -> Result<(), DnsError> {
        let mut seen = self.file().current()?;
        for _ in 0..SETTLING_LOOKS {
            tokio::time::sleep(SETTLING).await;
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
        let before = self.host_resolvers();
        {
            let mut state = self.state();
            state.before.get_or_insert(before);
            state.own.clone_from(&plan.servers);
        }
        let result = self.apply(plan).await;
        self.state().said = result.as_ref().err().map(ToString::to_string);
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
            Ok(Some(_)) => state.said = None,
            Ok(None) => {}
            Err(error) => {
                let text = Some(error.to_string());
                if std::mem::replace(&mut state.said, text.clone()) == text {
                    return Ok(None);
                }
            }
        }
        result
    }

    fn host_resolvers(&self) -> HostResolvers {
        let (before, own) = {
            let state = self.state();
            (state.before.clone(), state.own.clone())
        };
        let host = self.file().without_tunnel().ok().flatten();
        let host = upstream::parse(&host.unwrap_or_default());
        let asks_stub = self.asked_resolved().is_some();
        upstream::choose(host, asks_stub, &self.paths.upstreams, before, &own)
    }
}

/// Whether a running client has this device, or will have it again in a moment.
fn is_alive(device: &str) -> bool {
    exists(device) || owner::is_owned(RouteIdentity::of(device))
}
