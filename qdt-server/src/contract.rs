//! Stand-ins with the signatures of qdt-transport, until that crate has them.
#![allow(missing_docs, reason = "temporary")]
use std::any::Any;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use qdt_proto::datagram::{Aead, SessionId};
use qdt_proto::handshake::{Capabilities, SessionKeys};
use qdt_proto::http3::RequestHead;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    pub pps: u32,
    pub burst: u32,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub body: &'static str,
}
#[derive(Debug)]
pub struct Permit(pub Box<dyn Any + Send>);
#[derive(Debug)]
pub struct Admitted {
    pub id: SessionId,
    pub keys: SessionKeys,
    pub aead: Aead,
    pub caps: Capabilities,
    pub inner: Ipv4Addr,
    pub mtu: u16,
    pub response: Vec<u8>,
    pub replaces: Option<(usize, SessionId)>,
    pub limits: SessionLimits,
}
pub trait Admission: Send + Sync + 'static {
    fn head(
        &self,
        head: &RequestHead,
        peer: SocketAddr,
        connection_has_session: bool,
        now: Instant,
    ) -> Result<Permit, Refusal>;
    fn body(
        &self,
        permit: Permit,
        body: Option<&[u8]>,
        peer: SocketAddr,
        worker: usize,
        now: Instant,
    ) -> Result<Admitted, Refusal>;
    fn ended(&self, session: SessionId, reason: &str);
}
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub packets_in: u64,
    pub packets_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub drops: [u64; 12],
}
#[derive(Clone, Copy, Debug)]
pub struct DropReason(&'static str);
impl DropReason {
    pub const ALL: &'static [Self] = &[
        Self("rate_in"),
        Self("replay"),
        Self("decode"),
        Self("decode_oversize"),
        Self("bad_packet"),
        Self("src_mismatch"),
        Self("tun_backpressure"),
        Self("rate_out"),
        Self("datagram_oversize"),
        Self("no_session"),
        Self("queue_full"),
        Self("client_to_client"),
    ];
    pub const fn label(self) -> &'static str {
        self.0
    }
}
