//! Finding and deleting conntrack entries through ctnetlink.
//!
//! `include/uapi/linux/netfilter/nfnetlink_conntrack.h`. The table is read whole and searched here:
//! kernels before 6.11 cannot delete by address. An entry is deleted by exactly what the kernel
//! told about it (original tuple, zone, id), so a new entry that took its place is not hit.

use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::netlink::{NetlinkSocket, attributes, push_attribute};
use crate::conntrack::{Conntrack, ConntrackError};

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const NESTED: u16 = 0x8000;

/// `struct nfgenmsg`: family, version, resource id.
const HEADER: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];

/// A dump that the table's changes interrupted is repeated this often.
const ATTEMPTS: usize = 4;

/// The kernel's table of connections, through a socket that is opened once and held: a process that
/// has no descriptor left can still forget flows.
#[derive(Debug, Clone)]
pub struct HostConntrack(Arc<Mutex<Table>>);

impl HostConntrack {
    /// Opens the socket in this thread's network namespace. Where the kernel refuses, each use
    /// tries again and reports the error.
    #[must_use]
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(Table::open())))
    }
}

impl Conntrack for HostConntrack {
    async fn forget(&self, addresses: &[IpAddr]) -> Result<usize, ConntrackError> {
        let (table, addresses) = (self.0.clone(), addresses.to_vec());
        let forgotten = tokio::task::spawn_blocking(move || {
            // The table is whole between two requests, whatever ended one of them.
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.forget(&addresses)
        });
        let ended = |error| failed("wait for")(io::Error::other(error));
        forgotten.await.unwrap_or_else(|error| Err(ended(error)))
    }
}

/// The way to the table: a socket where the kernel has given one so far.
#[derive(Debug)]
struct Table {
    socket: Option<NetlinkSocket>,
}

impl Table {
    fn open() -> Self {
        Self {
            socket: open().ok(),
        }
    }

    /// Deletes every IPv4 entry that one of `addresses` takes part in; returns how many.
    fn forget(&mut self, addresses: &[IpAddr]) -> Result<usize, ConntrackError> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(open().map_err(failed("open"))?),
        };
        let forgotten = forget(socket, addresses);
        // Answers to a request that failed may still wait at its socket: a new one is better, the
        // old one better than none.
        if forgotten.is_err()
            && let Ok(fresh) = open()
        {
            self.socket = Some(fresh);
        }
        forgotten
    }
}

fn open() -> io::Result<NetlinkSocket> {
    NetlinkSocket::open(Some(rustix::net::netlink::NETFILTER))
}

fn forget(socket: &NetlinkSocket, addresses: &[IpAddr]) -> Result<usize, ConntrackError> {
    let addresses: HashSet<_> = addresses.iter().copied().collect();
    let mut forgotten = 0;
    for attempt in 1.. {
        let mut found = Vec::new();
        let mut collect = |_kind: u16, message: &[u8]| {
            let entry = message.get(HEADER.len()..).unwrap_or_default();
            if takes_part(entry, &addresses) {
                found.push(delete_request(entry));
            }
        };
        let listed = socket.request(GET, libc::NLM_F_DUMP as u16, &HEADER, &mut collect);
        for request in found {
            match socket.request(DELETE, 0, &request, &mut |_, _| {}) {
                Ok(()) => forgotten += 1,
                // It ended by itself between the two requests.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(failed("delete")(error)),
            }
        }
        match listed {
            Ok(()) => break,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) && attempt < ATTEMPTS => {}
            Err(error) => return Err(failed("list")(error)),
        }
    }
    Ok(forgotten)
}

fn takes_part(entry: &[u8], addresses: &HashSet<IpAddr>) -> bool {
    let tuples =
        attributes(entry).filter(|(kind, _)| matches!(*kind, CTA_TUPLE_ORIG | CTA_TUPLE_REPLY));
    let ips = tuples
        .flat_map(|(_, tuple)| attributes(tuple))
        .filter(|(kind, _)| *kind == CTA_TUPLE_IP);
    ips.flat_map(|(_, ip)| attributes(ip))
        .filter(|(kind, _)| matches!(*kind, CTA_IP_V4_SRC | CTA_IP_V4_DST))
        .filter_map(|(_, value)| Some(IpAddr::from(*value.first_chunk::<4>()?)))
        .any(|address| addresses.contains(&address))
}

fn delete_request(entry: &[u8]) -> Vec<u8> {
    let mut request = HEADER.to_vec();
    for (kind, value) in attributes(entry) {
        match kind {
            CTA_TUPLE_ORIG => push_attribute(&mut request, NESTED | kind, value),
            CTA_ID | CTA_ZONE => push_attribute(&mut request, kind, value),
            _ => {}
        }
    }
    request
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> ConntrackError {
    move |source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ConntrackError::Permission,
        _ => ConntrackError::Kernel { step, source },
    }
}
