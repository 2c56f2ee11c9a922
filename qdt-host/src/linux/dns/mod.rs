//! Name servers of a client's host: through systemd-resolved where it runs, else in
//! /etc/resolv.conf.
//!
//! systemd-resolved keeps name servers per interface and forgets them with it, so a killed run
//! leaves nothing there. The file is another matter: see `resolv_conf`. Giving back asks both ways,
//! since what was used before may not be what would be used now.

mod resolv_conf;
mod resolved;

use std::{ffi::OsString, path::PathBuf};

use resolv_conf::ResolvConf;
use resolved::Resolved;

use super::{owner, program, tun::interface_index};
use crate::{
    check_interface_name,
    dns::{Dns, DnsError, DnsPlan},
    routes::RouteIdentity,
};

/// Where the name servers of this host are kept. The default is what every Linux has; tests give
/// others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPaths {
    /// The file of the C library's resolver.
    pub resolv_conf: PathBuf,
    /// What stood in that file before a tunnel changed it; exists only while one has.
    pub backup: PathBuf,
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
            resolved_socket: "/run/systemd/resolve/io.systemd.Resolve".into(),
            programs: program::search_path(),
        }
    }
}

/// The name servers of this host.
#[derive(Debug, Clone, Default)]
pub struct HostDns {
    paths: DnsPaths,
}

impl HostDns {
    /// A host that keeps its name servers elsewhere.
    #[must_use]
    pub fn at(paths: DnsPaths) -> Self {
        Self { paths }
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
        match self.resolved() {
            Some(resolved) => resolved.install(plan).await,
            None => self.file().install(plan, exists),
        }
    }

    async fn remove(&self, tun: &str) -> Result<(), DnsError> {
        check_interface_name(tun)?;
        let restored = self.file().restore(|device| device == tun);
        self.revert(tun).await?;
        restored
    }

    async fn restore_leftovers(&self, tun: &str) -> Result<(), DnsError> {
        check_interface_name(tun)?;
        let restored = self
            .file()
            .restore(|device| device == tun || !(exists(device) || is_owned(device)));
        self.revert(tun).await?;
        restored
    }
}

/// Whether a running client has this device, or will have it again in a moment.
fn is_owned(device: &str) -> bool {
    owner::is_owned(RouteIdentity::of(device))
}

/// Whether there is such an interface. One that cannot be asked about counts as there, so that
/// nothing of a running client is undone by mistake.
fn exists(interface: &str) -> bool {
    !matches!(interface_index(interface), Ok(None))
}
