//! Name servers of an interface through `resolvectl`.
//!
//! Invariants: arguments are a checked interface name and addresses only. The calls of one
//! operation share [`LIMIT`]; exceeding it is an error.

use std::{ffi::OsStr, future::Future, io, net::IpAddr, path::Path, time::Duration};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};

use super::super::program;
use crate::dns::{DnsError, DnsPlan};

/// The timeout of a change, for all of its calls together.
const LIMIT: Duration = Duration::from_secs(4);
/// The timeout of reverting a failed change.
const UNDO_LIMIT: Duration = Duration::from_secs(2);

/// A running systemd-resolved.
pub(super) struct Resolved<'a> {
    programs: &'a OsStr,
}

impl<'a> Resolved<'a> {
    /// Returns systemd-resolved where its socket accepts connections and `resolvectl` exists. The
    /// runtime directory proves nothing: it outlives the service.
    pub(super) fn running(socket: &Path, programs: &'a OsStr) -> Option<Self> {
        program::find("resolvectl", programs)?;
        answers(socket).ok()?;
        Some(Self { programs })
    }

    /// Sets the servers of the interface and routes every look-up to them (`~.` is the root domain;
    /// `default-route` is for names that no interface claims).
    pub(super) async fn install(&self, plan: &DnsPlan) -> Result<(), DnsError> {
        let tun = plan.tun.as_str();
        let servers: Vec<_> = plan.servers.iter().map(IpAddr::to_string).collect();
        let mut arguments = vec![tun];
        arguments.extend(servers.iter().map(String::as_str));
        let installed = async {
            self.call("dns", &arguments).await?;
            self.call("domain", &[tun, "~."]).await?;
            self.call("default-route", &[tun, "yes"]).await
        };
        let result = within(LIMIT, installed).await;
        if result.is_err() {
            // Return the first error; the settings end with the interface anyway.
            let _ = within(UNDO_LIMIT, self.call("revert", &[tun])).await;
        }
        result
    }

    /// Reverts the settings of the interface.
    pub(super) async fn revert(&self, tun: &str) -> Result<(), DnsError> {
        within(LIMIT, self.call("revert", &[tun])).await
    }

    async fn call(&self, verb: &'static str, arguments: &[&str]) -> Result<(), DnsError> {
        let call = async {
            let mut command = program::command_in("resolvectl", self.programs)?;
            command.arg(verb).args(arguments);
            program::run(command, None).await
        };
        let output = call.await.map_err(|source| DnsError::Run { source })?;
        if output.status.success() {
            return Ok(());
        }
        let message = program::first_line(&output.stderr, output.status);
        Err(DnsError::Resolved { verb, message })
    }
}

/// Ends `calls` after `limit` and kills the program that runs then.
async fn within(
    limit: Duration,
    calls: impl Future<Output = Result<(), DnsError>>,
) -> Result<(), DnsError> {
    let ended = tokio::time::timeout(limit, calls).await;
    ended.unwrap_or(Err(DnsError::NoAnswer { limit }))
}

/// Succeeds when a process listens at `socket`; a full backlog counts too. Does not block.
fn answers(socket: &Path) -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let client = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&client, &SocketAddrUnix::new(socket)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
