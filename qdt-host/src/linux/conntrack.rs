//! Deletion of conntrack entries through ctnetlink.
//!
//! `include/uapi/linux/netfilter/nfnetlink_conntrack.h`. This module dumps the whole table and
//! searches it, because kernels before 6.11 cannot delete by address.
//!
//! Invariants: an entry is deleted by its original tuple, zone and id, so a new entry in its place
//! stays.

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

/// The most attempts at a dump that changes of the table interrupt.
const MAX_ATTEMPTS: usize = 4;

/// The kernel's connection tracking table. Its socket stays open, so that a process that has run
/// out of descriptors can still delete flows.
#[derive(Debug, Clone)]
pub struct HostConntrack(Arc<Mutex<Table>>);

impl HostConntrack {
    /// Opens the socket in this thread's network namespace. Where that fails, each use retries and
    /// reports the error.
    #[must_use]
    pub fn open() -> Self {
        Self(Arc::new(Mutex::new(Table::open())))
    }
}

impl Conntrack for HostConntrack {
    async fn delete_flows(&self, addresses: &[IpAddr]) -> Result<usize, ConntrackError> {
        let (table, addresses) = (self.0.clone(), addresses.to_vec());
        let deletion = tokio::task::spawn_blocking(move || {
            // A panic between two requests leaves the table consistent.
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.delete_flows(&addresses)
        });
        let ended = |error| failed("wait for")(io::Error::other(error));
        deletion.await.unwrap_or_else(|error| Err(ended(error)))
    }
}

/// Access to the table: a socket once the kernel has granted one.
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

    /// Deletes every IPv4 entry of one of `addresses`; returns their number.
    fn delete_flows(&mut self, addresses: &[IpAddr]) -> Result<usize, ConntrackError> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            none => none.insert(open().map_err(failed("open"))?),
        };
        let deleted = delete_flows(socket, addresses);
        // Answers to the failed request may still be queued at the socket: prefer a new one.
        if deleted.is_err()
            && let Ok(fresh) = open()
        {
            self.socket = Some(fresh);
        }
        deleted
    }
}

fn open() -> io::Result<NetlinkSocket> {
    NetlinkSocket::open(Some(rustix::net::netlink::NETFILTER))
}

fn delete_flows(socket: &NetlinkSocket, addresses: &[IpAddr]) -> Result<usize, ConntrackError> {
    let addresses: HashSet<_> = addresses.iter().copied().collect();
    let mut deleted = 0;
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
                Ok(()) => deleted += 1,
                // The entry expired between the two requests.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(failed("delete")(error)),
            }
        }
        match listed {
            Ok(()) => break,
            Err(error) if error.raw_os_error() == Some(libc::EINTR) && attempt < MAX_ATTEMPTS => {}
            Err(error) => return Err(failed("list")(error)),
        }
    }
    Ok(deleted)
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
