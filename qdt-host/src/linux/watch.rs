//! Events of the kernel's network: rtnetlink and nf_tables multicast groups.
//!
//! Two sockets, because the groups belong to two netlink families. Each is optional: a kernel
//! without nf_tables, or a process that may not subscribe, still gets a report every [`PERIOD`], at
//! which a socket that is missing is opened again.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, bind,
    netlink::{self, SocketAddrNetlink},
    recv, socket_with,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until},
};

use super::netlink::kinds;
use crate::watch::{Changes, Watch};

/// A report is made at least this often.
const PERIOD: Duration = Duration::from_secs(3);
/// How long a burst of events is gathered: a link that goes down takes its addresses and routes
/// with it in as many messages.
const GATHER: Duration = Duration::from_millis(20);
/// The least time between two reports: a router's table can change thousands of times a second.
const DISTANCE: Duration = Duration::from_millis(200);
/// The most messages read in one go, so that a flood of them does not hold the control side.
const READS: usize = 1024;

/// `RTNLGRP_*` of `linux/rtnetlink.h`: LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR,
/// IPV6_ROUTE, IPV6_RULE, IPV4_NETCONF.
const ROUTE_GROUPS: [u32; 8] = [1, 5, 7, 8, 9, 11, 19, 24];
/// `RTM_NEWNETCONF`, `RTM_DELNETCONF`: `rp_filter`, `forwarding` and the like.
const NETCONF: [u16; 2] = [80, 81];
/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const NFTABLES_GROUPS: [u32; 1] = [7];

/// Watches the network namespace of the thread that opens it.
#[derive(Debug)]
pub struct HostWatch {
    routing: Option<Listener>,
    firewall: Option<Listener>,
    seen: Changes,
    /// When the next report is due: soon after an event, otherwise after [`PERIOD`].
    due: Instant,
    last: Option<Instant>,
}

impl HostWatch {
    /// Subscribes to the events. What happens from now on is reported. Must be called within a
    /// tokio runtime; it cannot fail, since without events a report is made every few seconds.
    #[must_use]
    pub fn open() -> Self {
        let mut watch = Self {
            routing: None,
            firewall: None,
            seen: Changes::NONE,
            due: Instant::now() + PERIOD,
            last: None,
        };
        watch.subscribe();
        watch
    }

    /// Opens the sockets that are missing.
    fn subscribe(&mut self) {
        let opened = |listener: io::Result<Listener>| match listener {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::debug!(err = %error, "host changes cannot be listened to");
                None
            }
        };
        if self.routing.is_none() {
            self.routing = opened(Listener::open(None, &ROUTE_GROUPS));
        }
        if self.firewall.is_none() {
            self.firewall = opened(Listener::open(Some(netlink::NETFILTER), &NFTABLES_GROUPS));
        }
    }

    /// Notes an event and reports soon.
    fn note(&mut self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        if self.seen.is_empty() {
            let now = Instant::now();
            let spaced = self.last.map_or(now, |last| last + DISTANCE);
            self.due = self.due.min(spaced.max(now + GATHER));
        }
        self.seen = self.seen.union(changes);
    }

    /// Reads what waits; a socket that cannot be read any more is given up.
    fn read(&mut self) {
        for side in [Side::Routing, Side::Firewall] {
            let listener = self.listener(side);
            let Some(read) = listener.as_ref().map(|listener| listener.read(side)) else {
                continue;
            };
            match read {
                Ok(changes) => self.note(changes),
                Err(_) => {
                    *self.listener(side) = None;
                    self.note(Changes::ALL);
                }
            }
        }
    }

    fn listener(&mut self, side: Side) -> &mut Option<Listener> {
        match side {
            Side::Routing => &mut self.routing,
            Side::Firewall => &mut self.firewall,
        }
    }
}

impl Watch for HostWatch {
    async fn changed(&mut self) -> Changes {
        loop {
            let gathering = !self.seen.is_empty();
            tokio::select! {
                biased;
                () = sleep_until(self.due) => {
                    self.read();
                    self.subscribe();
                    let now = Instant::now();
                    self.last = Some(now);
                    self.due = now + PERIOD;
                    let seen = std::mem::take(&mut self.seen);
                    return if seen.is_empty() { Changes::ALL } else { seen };
                }
                () = readable(self.routing.as_ref()), if !gathering => self.read(),
                () = readable(self.firewall.as_ref()), if !gathering => self.read(),
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Routing,
    Firewall,
}

impl Side {
    /// What a message of this type tells.
    fn changes(self, kind: u16) -> Changes {
        let mut changes = Changes::NONE;
        match (self, kind) {
            (Self::Firewall, _) => changes.firewall = true,
            (Self::Routing, libc::RTM_NEWLINK | libc::RTM_DELLINK) => changes.links = true,
            (Self::Routing, libc::RTM_NEWADDR | libc::RTM_DELADDR) => changes.addresses = true,
            (Self::Routing, libc::RTM_NEWROUTE | libc::RTM_DELROUTE) => changes.routes = true,
            (Self::Routing, libc::RTM_NEWRULE | libc::RTM_DELRULE) => changes.rules = true,
            (Self::Routing, kind) => changes.links = NETCONF.contains(&kind),
        }
        changes
    }
}

/// One subscribed socket.
#[derive(Debug)]
struct Listener {
    socket: AsyncFd<OwnedFd>,
}

impl Listener {
    fn open(family: Option<Protocol>, groups: &[u32]) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, family)?;
        let groups = groups.iter().fold(0, |mask, group| mask | 1 << (group - 1));
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        // SAFETY: an `OwnedFd` gives the same open descriptor until it is dropped, and only the
        // `AsyncFd` drops it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket })
    }

    /// What the waiting messages tell.
    fn read(&self, side: Side) -> io::Result<Changes> {
        // Only the types are of interest: what does not fit is cut off.
        let mut buffer = [0; 8 * 1024];
        let mut changes = Changes::NONE;
        for _ in 0..READS {
            let read = self.socket.try_io(Interest::READABLE, |socket| {
                Ok(recv(socket.as_fd(), &mut buffer[..], RecvFlags::empty())?.0)
            });
            match read {
                Ok(len) => {
                    let told = kinds(&buffer[..len]).map(|kind| side.changes(kind));
                    changes = told.fold(changes, Changes::union);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Events were lost; the socket goes on.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changes = Changes::ALL,
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }
}

async fn readable(listener: Option<&Listener>) {
    let ready = match listener {
        Some(listener) => listener.socket.readable().await.map(drop),
        None => std::future::pending().await,
    };
    if ready.is_err() {
        // The runtime is shutting down.
        std::future::pending::<()>().await;
    }
}
