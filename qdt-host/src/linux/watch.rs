//! [`Watch`] for Linux: multicast groups of rtnetlink and nf_tables.
//!
//! Two sockets, because the groups belong to two netlink families. Both are optional: without
//! nf_tables, or without the permission to subscribe, a report is due every [`POLL_INTERVAL`], and
//! a missing socket is reopened then.

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

/// The longest interval between two reports.
const POLL_INTERVAL: Duration = Duration::from_secs(3);
/// The time to collect a burst of events: one for each address and route of a link that goes down,
/// for example.
const COLLECT_TIME: Duration = Duration::from_millis(20);
/// The shortest interval between two reports: a router's table can change thousands of times a
/// second.
const MIN_INTERVAL: Duration = Duration::from_millis(200);
/// The most messages per read, so that a flood of events does not block the control side.
const MAX_READS: usize = 1024;

/// `RTNLGRP_*` of `linux/rtnetlink.h`: LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR,
/// IPV6_ROUTE, IPV6_RULE, IPV4_NETCONF.
const ROUTE_GROUPS: [u32; 8] = [1, 5, 7, 8, 9, 11, 19, 24];
/// `RTM_NEWNETCONF`, `RTM_DELNETCONF`: `rp_filter`, `forwarding` and the like.
const NETCONF: [u16; 2] = [80, 81];
/// `NFNLGRP_NFTABLES` of `linux/netfilter/nfnetlink.h`.
const NFTABLES_GROUPS: [u32; 1] = [7];

/// Watches the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct HostWatch {
    routing: Option<Listener>,
    firewall: Option<Listener>,
    pending: Changes,
    /// The time of the next report: soon after an event, otherwise after [`POLL_INTERVAL`].
    due: Instant,
    last_report: Option<Instant>,
}

impl HostWatch {
    /// Subscribes to events from now on. Must be called within a tokio runtime. Never fails:
    /// without a subscription a report is due every few seconds.
    #[must_use]
    pub fn open() -> Self {
        let mut watch = Self {
            routing: None,
            firewall: None,
            pending: Changes::NONE,
            due: Instant::now() + POLL_INTERVAL,
            last_report: None,
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

    /// Records an event and schedules a report.
    fn record(&mut self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        if self.pending.is_empty() {
            let now = Instant::now();
            let spaced = self.last_report.map_or(now, |last| last + MIN_INTERVAL);
            self.due = self.due.min(spaced.max(now + COLLECT_TIME));
        }
        self.pending = self.pending.union(changes);
    }

    /// Reads pending events; closes a socket that fails.
    fn read(&mut self) {
        for source in [Source::Routing, Source::Firewall] {
            let listener = self.listener(source);
            let Some(read) = listener.as_ref().map(|listener| listener.read(source)) else {
                continue;
            };
            match read {
                Ok(changes) => self.record(changes),
                Err(_) => {
                    *self.listener(source) = None;
                    self.record(Changes::ALL);
                }
            }
        }
    }

    fn listener(&mut self, source: Source) -> &mut Option<Listener> {
        match source {
            Source::Routing => &mut self.routing,
            Source::Firewall => &mut self.firewall,
        }
    }
}

impl Watch for HostWatch {
    async fn changed(&mut self) -> Changes {
        loop {
            let collecting = !self.pending.is_empty();
            tokio::select! {
                biased;
                () = sleep_until(self.due) => {
                    self.read();
                    self.subscribe();
                    let now = Instant::now();
                    self.last_report = Some(now);
                    self.due = now + POLL_INTERVAL;
                    let pending = std::mem::take(&mut self.pending);
                    return if pending.is_empty() { Changes::ALL } else { pending };
                }
                () = readable(self.routing.as_ref()), if !collecting => self.read(),
                () = readable(self.firewall.as_ref()), if !collecting => self.read(),
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Routing,
    Firewall,
}

impl Source {
    /// Returns the changes that a message of this type reports.
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

    /// Returns the changes of all pending messages.
    fn read(&self, source: Source) -> io::Result<Changes> {
        // Only the types matter, so the kernel may truncate a message.
        let mut buffer = [0; 8 * 1024];
        let mut changes = Changes::NONE;
        for _ in 0..MAX_READS {
            let read = self.socket.try_io(Interest::READABLE, |socket| {
                Ok(recv(socket.as_fd(), &mut buffer[..], RecvFlags::empty())?.0)
            });
            match read {
                Ok(len) => {
                    let reported = kinds(&buffer[..len]).map(|kind| source.changes(kind));
                    changes = reported.fold(changes, Changes::union);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Events were lost; the socket stays usable.
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
