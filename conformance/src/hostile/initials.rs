//! First packets of QUIC connections that are never completed: with a payload that does not
//! decrypt, or with a complete and valid ClientHello.
//!
//! Each is 1200 bytes, the least a server may answer (RFC 9000 section 14.1), with its own
//! connection id.

use std::sync::Arc;

use rand::RngCore as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};
use rustls::quic::{ClientConnection, Suite, Version};

const LENGTH: usize = 1200;
const TAG: usize = 16;
/// Bytes of the packet number; its sample begins 4 bytes behind the number's start (RFC 9001
/// section 5.4.2).
const NUMBER: usize = 4;

/// Makes Initial packets; a seed gives the same ones again.
pub struct Initials {
    random: SmallRng,
    source_id: [u8; 8],
    hello: Vec<u8>,
    suite: Suite,
}

impl std::fmt::Debug for Initials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Initials").finish_non_exhaustive()
    }
}

impl Initials {
    /// Prepares a ClientHello that fits one packet.
    ///
    /// # Panics
    /// Never: everything is constant.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let source_id = random.random();
        let suite = cipher_suite::TLS13_AES_128_GCM_SHA256
            .tls13()
            .and_then(|suite| suite.quic_suite())
            .expect("the suite of Initial packets (RFC 9001 section 5.2)");
        Self {
            hello: client_hello(source_id),
            random,
            source_id,
            suite,
        }
    }

    /// A packet whose header is right and whose payload is noise.
    pub fn undecryptable(&mut self) -> Vec<u8> {
        let destination: [u8; 8] = self.random.random();
        let mut packet = self.header(&destination, &[]);
        let start = packet.len();
        packet.resize(LENGTH, 0);
        self.random.fill_bytes(&mut packet[start..]);
        packet
    }

    /// A packet with a ClientHello that a server has every reason to answer.
    ///
    /// # Panics
    /// Never: sizes are constant.
    pub fn decryptable(&mut self) -> Vec<u8> {
        let destination: [u8; 8] = self.random.random();
        self.hello_to(&destination, &[])
    }

    /// The packet that answers a server's Retry, with the token that proves the sender's address;
    /// `None` where the packet is no Retry (RFC 9000 section 17.2.5).
    ///
    /// # Panics
    /// When the token leaves no room for the ClientHello.
    pub fn after_retry(&mut self, retry: &[u8]) -> Option<Vec<u8>> {
        let (first, rest) = retry.split_first()?;
        let behind_version = rest
            .strip_prefix(&[0, 0, 0, 1])
            .filter(|_| first & 0xf0 == 0xf0)?;
        let (_, behind) = connection_id(behind_version)?;
        let (source, behind) = connection_id(behind)?;
        let token = behind.get(..behind.len().checked_sub(TAG)?)?;
        Some(self.hello_to(source, token))
    }

    fn hello_to(&self, destination: &[u8], token: &[u8]) -> Vec<u8> {
        let mut packet = self.header(destination, token);
        let header = packet.len();
        // A CRYPTO frame at offset 0, then PADDING (RFC 9000 sections 19.1 and 19.6).
        let mut payload = vec![0x06, 0x00];
        let length = u16::try_from(self.hello.len()).expect("a ClientHello below 16 KiB");
        payload.extend_from_slice(&(0x4000 | length).to_be_bytes());
        payload.extend_from_slice(&self.hello);
        let room = LENGTH - header - NUMBER - TAG;
        assert!(payload.len() <= room, "the ClientHello fits one packet");
        payload.resize(room, 0);

        let keys = self
            .suite
            .keys(destination, rustls::Side::Client, Version::V1)
            .local;
        packet.extend_from_slice(&[0; NUMBER]);
        let tag = keys
            .packet
            .encrypt_in_place(0, &packet, &mut payload)
            .expect("a payload can be sealed");
        packet.extend_from_slice(&payload);
        packet.extend_from_slice(tag.as_ref());
        let (first, rest) = packet.split_at_mut(1);
        let (number, behind) = rest[header - 1..].split_at_mut(NUMBER);
        keys.header
            .encrypt_in_place(&behind[..16], &mut first[0], number)
            .expect("a sample of 16 bytes");
        packet
    }

    /// Everything before the packet number.
    fn header(&self, destination: &[u8], token: &[u8]) -> Vec<u8> {
        // Long header, Initial, packet number of 4 bytes.
        let mut packet = Vec::with_capacity(LENGTH);
        packet.extend_from_slice(&[0xc3, 0, 0, 0, 1]);
        packet.push(u8::try_from(destination.len()).expect("an id of at most 20 bytes"));
        packet.extend_from_slice(destination);
        packet.push(8);
        packet.extend_from_slice(&self.source_id);
        let length = u16::try_from(token.len()).expect("a token below 16 KiB");
        packet.extend_from_slice(&(0x4000 | length).to_be_bytes());
        packet.extend_from_slice(token);
        let length = u16::try_from(LENGTH - packet.len() - 2).expect("below 16 KiB");
        packet.extend_from_slice(&(0x4000 | length).to_be_bytes());
        packet
    }
}

/// A connection id behind its length, and what follows it.
fn connection_id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// A ClientHello with one key share, ALPN h3 and the transport parameter that has to match the
/// packet.
fn client_hello(source_id: [u8; 8]) -> Vec<u8> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h3".to_vec()];
    // initial_source_connection_id (RFC 9000 section 18.2), max_datagram_frame_size (RFC 9221
    // section 3).
    let mut parameters = vec![0x0f, 8];
    parameters.extend_from_slice(&source_id);
    parameters.extend_from_slice(&[0x20, 4, 0x80, 0, 0xff, 0xff]);
    let name = "server.lab".try_into().expect("a host name");
    let mut connection = ClientConnection::new(Arc::new(config), Version::V1, name, parameters)
        .expect("the configuration allows QUIC");
    let mut hello = Vec::new();
    connection.write_hs(&mut hello);
    hello
}
