//! Ownership of a tunnel as a bound socket with an abstract name.
//!
//! Such a name belongs to the network namespace, as the tunnel's device, rules and tables do, and
//! it is free again once its process is gone. Any user may bind one; one bound by a user who could
//! not run a tunnel counts for nothing when a tunnel is claimed, and for an owner when it is about
//! leaving things alone. The socket is a datagram one, because those can be connected to, which
//! tells that they are there, without anybody who accepts.

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

/// The right to a tunnel of one name in this network namespace, while this value lives.
#[derive(Debug)]
pub struct TunnelOwner {
    _socket: Option<OwnedFd>,
    warning: Option<OwnerWarning>,
}

impl TunnelOwner {
    /// Claims the tunnel whose device is called `tun`, in this thread's network namespace.
    ///
    /// # Errors
    /// [`OwnerError::Running`] while another process owns it, [`OwnerError::Tun`] while another
    /// program has the device open; nothing is changed then.
    pub fn claim(tun: &str) -> Result<Self, OwnerError> {
        crate::check_interface_name(tun).map_err(crate::TunError::from)?;
        let identity = RouteIdentity::of(tun);
        let owner = match bound(identity) {
            Ok(socket) => Self {
                _socket: Some(socket),
                warning: None,
            },
            Err(Errno::ADDRINUSE) => {
                let Some(uid) = stranger(identity) else {
                    return Err(OwnerError::Running {
                        tun: tun.to_owned(),
                        table: identity.table(),
                    });
                };
                Self::in_name(
                    tun,
                    format!(
                        "a process of user {uid} holds the abstract socket `@{}`; find it with \
                         `ss -xap` and end it",
                        name(identity)
                    ),
                )
            }
            // A sandbox without such sockets must not keep the tunnel from starting.
            Err(error) => Self::in_name(
                tun,
                format!("the abstract socket `@{}`: {error}", name(identity)),
            ),
        };
        // A program that knows nothing of owners may have the device.
        tun::check_unused(tun)?;
        Ok(owner)
    }

    fn in_name(tun: &str, reason: String) -> Self {
        Self {
            _socket: None,
            warning: Some(OwnerWarning {
                tun: tun.to_owned(),
                reason,
            }),
        }
    }

    /// What stands in the way of refusing others, for the log.
    #[must_use]
    pub fn warning(&self) -> Option<&OwnerWarning> {
        self.warning.as_ref()
    }
}

/// Whether a tunnel of this identity has an owner. What cannot be found out counts as owned, so
/// that nothing of a running client is removed by mistake.
pub(super) fn is_owned(identity: RouteIdentity) -> bool {
    let connected = || connect(&socket()?, &address(identity)?);
    connected() != Err(Errno::CONNREFUSED)
}

fn bound(identity: RouteIdentity) -> Result<OwnedFd, Errno> {
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
    // Nobody shall fill its queue.
    shutdown(socket.as_fd(), Shutdown::Read)?;
    Ok(socket)
}

/// The user who holds the name of `identity`, if that is neither root nor the user we are. `None`
/// also when the kernel cannot tell (`CONFIG_UNIX_DIAG`, Linux 5.3 for the user).
fn stranger(identity: RouteIdentity) -> Option<u32> {
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
