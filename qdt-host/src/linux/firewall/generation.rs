//! The kernel's generation counter of the nftables ruleset.

use super::super::netlink::{NetlinkSocket, attributes};

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETGEN` of `linux/netfilter/nf_tables.h`.
const GETGEN: u16 = (10 << 8) | 16;
const NFTA_GEN_ID: u16 = 1;
/// `struct nfgenmsg`: family, version, resource id.
const HEADER: [u8; 4] = [libc::AF_UNSPEC as u8, 0, 0, 0];

/// Reads the counter in this thread's network namespace; `None` where the kernel has none.
pub(super) fn read() -> Option<u32> {
    let socket = NetlinkSocket::open(Some(rustix::net::netlink::NETFILTER)).ok()?;
    let mut generation = None;
    let mut collect = |_kind: u16, message: &[u8]| {
        let answer = message.get(HEADER.len()..).unwrap_or_default();
        generation = attributes(answer)
            .find(|(kind, _)| *kind == NFTA_GEN_ID)
            .and_then(|(_, value)| Some(u32::from_be_bytes(*value.first_chunk()?)))
            .or(generation);
    };
    socket.request(GETGEN, 0, &HEADER, &mut collect).ok()?;
    generation
}
