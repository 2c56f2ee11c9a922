//! Fixtures of both pairs, the one over loopback (`tests/support/mod.rs`) and the virtual one
//! (`src/virtual_pair/`): packets, a certificate, settings and grants.
//!
//! The types of qdt-transport come from the parent module, because one pair is outside of the crate
//! and one inside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use qdt_host::tun::TunQueue;
use qdt_proto::datagram::{Aead, SessionId};
use qdt_proto::handshake::{
    Assignment, Capabilities, Capability, ConnectRequest, ConnectResponse, Nonce, SessionKeys,
};
use qdt_proto::packet::Sum;

use super::{
    ClientSettings, ClientTls, ClientTrust, Grant, Owner, Pool, Refusal, ServerSettings, ServerTls,
    SessionLimits, SessionUsage,
};

pub(crate) const TOKEN: &[u8] = b"a token of some length";
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
/// The tunnel's MTU at both ends.
const MTU: u16 = 1350;

pub(crate) const BAD_REQUEST: Refusal = Refusal {
    status: 400,
    body: "bad request",
};

/// Returns a UDP packet that may be fragmented, valid in every part, of `len` bytes in all.
pub(crate) fn packet(from: Ipv4Addr, to: Ipv4Addr, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let sum = Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet[20..24].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
    packet[24..26].copy_from_slice(&((len - 20) as u16).to_be_bytes());
    for (index, byte) in packet[28..].iter_mut().enumerate() {
        *byte = index as u8;
    }
    packet
}

/// Returns a self-signed certificate with a key of its own.
pub(crate) fn new_certificate() -> ServerTls {
    let dir = tempfile::tempdir().expect("directory");
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("certificate");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, pair.cert.pem()).expect("write");
    std::fs::write(&key, pair.signing_key.serialize_pem()).expect("write");
    ServerTls::load(&cert, &key).expect("load")
}

/// Returns the settings of a server that isolates its clients.
pub(crate) fn server_settings(
    addr: SocketAddr,
    tls: ServerTls,
    queues: Vec<TunQueue>,
) -> ServerSettings {
    ServerSettings {
        addr,
        tls,
        queues,
        pool: Pool::new("10.8.0.0/24".parse().expect("a network")).expect("IPv4"),
        gateway: GATEWAY.into(),
        client_to_client: false,
        forward_link_local: Vec::new(),
        max_reassembly_bytes: 65_535,
        idle_timeout: Duration::from_secs(30),
        datagram_queue: 4096,
        mtu: MTU,
        handover_queue: 4096,
        tun_reads_per_turn: 4,
    }
}

pub(crate) fn client_settings(trust: &ClientTrust) -> ClientSettings {
    ClientSettings {
        tls: ClientTls::new(trust).expect("trust"),
        outside: None,
        server_name: "localhost".into(),
        authority: "localhost".into(),
        token: TOKEN.to_vec().into(),
        mtu: MTU,
        caps: Capabilities::all(),
        client_id: String::new(),
        dial_timeout: Duration::from_secs(5),
        probe_interval: None,
        max_reassembly_bytes: 65_535,
    }
}

/// Returns the inner address of the client.
pub(crate) fn inner_address(assignment: &Assignment) -> Ipv4Addr {
    match assignment.address.addr() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is not IPv4"),
    }
}

/// Returns the session `id` at `inner` for `request`, and gives its client `ticket`.
///
/// # Errors
/// The refusal of a request with a malformed nonce.
pub(crate) fn grant(
    request: &ConnectRequest,
    id: SessionId,
    inner: Ipv4Addr,
    ticket: Option<String>,
) -> Result<Grant, Refusal> {
    let caps = Capabilities::negotiate(&request.caps);
    let nonce = Nonce::from_bytes([id.0 as u8; 16]);
    let client_nonce = Nonce::from_text(&request.client_nonce).map_err(|_| BAD_REQUEST)?;
    let mtu = request.max_mtu.unwrap_or(request.mtu as u16).min(MTU);
    let response = ConnectResponse {
        version: 1,
        session_id: id,
        server_nonce: nonce.to_text(),
        mtu: mtu.into(),
        client_ip: inner.to_string(),
        gateway_ip: GATEWAY.to_string(),
        cidr: "10.8.0.0/24".into(),
        dns: Vec::new(),
        caps: Some(caps.to_texts()),
        resume: ticket,
    };
    Ok(Grant {
        owner: Owner::SHARED_TOKEN,
        id,
        keys: SessionKeys::derive(TOKEN, &client_nonce, &nonce).map_err(|_| BAD_REQUEST)?,
        aead: if caps.contains(Capability::Aes256Gcm) {
            Aead::Aes256Gcm
        } else {
            Aead::ChaCha20Poly1305
        },
        caps,
        inner: inner.into(),
        number: id.0,
        mtu,
        response: response.encode(),
        replaces: None,
        limits: SessionLimits::OFF,
        usage: SessionUsage::default(),
        counters: Arc::default(),
    })
}
