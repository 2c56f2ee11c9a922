//! Ownership of a tunnel by an abstract Unix socket.
//!
//! An abstract name belongs to the network namespace, as the tunnel's device, rules and tables do,
//! and is released with its process. Any user may bind one: a claim ignores the socket of a user
//! who cannot run a tunnel, while a removal of leftovers respects it. The socket is a datagram
//! socket, because a process can probe it by `connect` without an `accept` on the other side.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, connect, netlink,
        shutdown, socket_with,
    },
};

use super::{
    identity::RouteIdentity,
    netlink::{NetlinkSocket, attributes},
    tun,
};
use crate::owner::{OwnerError, OwnerWarning};

/// Exclusive ownership of a tunnel in this network namespace; released on drop.
#[derive(Debug)]
pub struct TunnelOwner {
    _socket: Option<OwnedFd>,
    warning: Option<OwnerWarning>,
}

impl TunnelOwner {
    /// Claims the tunnel of the device `tun` in this thread's network namespace.
    ///
    /// # Errors
    /// [`OwnerError::Running`] while another process owns it, [`OwnerError::Tun`] while another
    /// program has the device open; nothing changes then.
    pub fn claim(tun: &str) -> Result<Self, OwnerError> {
        crate::check_interface_name(tun).map_err(crate::TunError::from)?;
        let identity = RouteIdentity::of(tun);
        let owner = match bind_name(identity) {
            Ok(socket) => Self {
                _socket: Some(socket),
                warning: None,
            },
            Err(Errno::ADDRINUSE) => {
                let Some(uid) = foreign_user(identity) else {
                    return Err(OwnerError::Running {
                        tun: tun.to_owned(),
                        table: identity.table(),
                    });
                };
                Self::without_socket(
                    tun,
                    format!(
                        "a process of user {uid} holds the abstract socket `@{}`; find it with \
                         `ss -xap` and end it",
                        name(identity)
                    ),
                )
            }
            // A sandbox without abstract sockets must not prevent the start.
            Err(error) => Self::without_socket(
                tun,
                format!("the abstract socket `@{}`: {error}", name(identity)),
            ),
        };
        // A program that binds no such socket may have the device open.
        tun::check_unused(tun)?;
        Ok(owner)
    }

    fn without_socket(tun: &str, reason: String) -> Self {
        Self {
            _socket: None,
            warning: Some(OwnerWarning {
                tun: tun.to_owned(),
                reason,
            }),
        }
    }

    /// Returns why a second client cannot be refused, for the log.
    #[must_use]
    pub fn warning(&self) -> Option<&OwnerWarning> {
        self.warning.as_ref()
    }
}

/// Returns whether a tunnel of this identity has an owner. An unknown state counts as owned, so
/// that nothing of a running client is removed.
pub(super) fn is_owned(identity: RouteIdentity) -> bool {
    let connected = || connect(&socket()?, &address(identity)?);
    connected() != Err(Errno::CONNREFUSED)
}

fn bind_name(identity: RouteIdentity) -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    bind(&socket, &address(identity)?)?;
    Ok(socket)
}

fn name(identity: RouteIdentity) -> String {
    format!("qdt-client/{}", identity.table())
}

fn address(identity: RouteIdentity) -> Result<SocketAddrUnix, Errno> {
    SocketAddrUnix::new_abstract_name(name(identity).as_bytes())
}

fn socket() -> Result<OwnedFd, Errno> {
    let kind = SocketType::DGRAM;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    // Other processes must not fill its queue.
    shutdown(socket.as_fd(), Shutdown::Read)?;
    Ok(socket)
}

/// Returns the user who bound the name of `identity`, unless that is root or our own user.
/// `None` also where the kernel does not tell (`CONFIG_UNIX_DIAG`; since Linux 5.3).
fn foreign_user(identity: RouteIdentity) -> Option<u32> {
    // `linux/sock_diag.h`, `linux/unix_diag.h`
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const UDIAG_SHOW_NAME: u32 = 1;
    const UDIAG_SHOW_UID: u32 = 0x40;
    const UNIX_DIAG_NAME: u16 = 0;
    const UNIX_DIAG_UID: u16 = 7;
    /// `struct unix_diag_msg`
    const HEADER_LEN: usize = 16;

    // `struct unix_diag_req`: family, protocol, padding, states, inode, what to show, cookie.
    let mut request = vec![libc::AF_UNIX as u8, 0, 0, 0];
    for number in [u32::MAX, 0, UDIAG_SHOW_NAME | UDIAG_SHOW_UID, 0, 0] {
        request.extend_from_slice(&number.to_ne_bytes());
    }
    let wanted = format!("\0{}", name(identity));
    let mut holder = None;
    let socket = NetlinkSocket::open(Some(netlink::SOCK_DIAG)).ok()?;
    let listed = socket.request(
        SOCK_DIAG_BY_FAMILY,
        libc::NLM_F_DUMP as u16,
        &request,
        &mut |_, message| {
            let message = message.get(HEADER_LEN..).unwrap_or_default();
            let value = |wanted| attributes(message).find(|(kind, _)| *kind == wanted);
            if value(UNIX_DIAG_NAME).is_some_and(|(_, name)| name == wanted.as_bytes()) {
                holder = value(UNIX_DIAG_UID)
                    .and_then(|(_, uid)| Some(u32::from_ne_bytes(*uid.first_chunk()?)));
            }
        },
    );
    listed.ok()?;
    holder.filter(|uid| ![0, rustix::process::geteuid().as_raw()].contains(uid))
}
