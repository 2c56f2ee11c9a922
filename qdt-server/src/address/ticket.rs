//! The `resume` ticket, a sealed claim on an inner address that survives a restart of the server.
//!
//! Plaintext: version 1 | IPv4 address | lineage u64 | expiry u64 (seconds since 1970), big-endian,
//! 21 bytes. Sealed: a random 12-byte nonce | AES-256-GCM ciphertext and tag, in unpadded standard
//! base64. The key is derived from the TLS private key, so only a server with that key opens the
//! ticket; a running server also opens tickets of its earlier keys. A ticket does not replace the
//! token: it only names its bearer's address.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

/// How long a ticket is valid: long, because a session gets one ticket and may last for months. It
/// gives its bearer nothing but an address that no other client has.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

const VERSION: u8 = 1;
const PLAIN_LEN: usize = 21;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const TEXT_MAX: usize = (NONCE_LEN + PLAIN_LEN + TAG_LEN).div_ceil(3) * 4;
const CONTEXT: &[u8] = b"qdt resume ticket";

/// Why a ticket is not honoured. Its bearer gets a session with another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The text is not a ticket.
    #[error("the resume ticket is not one of this format")]
    Malformed,
    /// It was altered, or sealed under another TLS key.
    #[error("the resume ticket was not sealed under this server's TLS key")]
    WrongKey,
    /// It has expired.
    #[error("the resume ticket has expired")]
    Expired,
}

/// The contents of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The bearer's inner address; not its index, because the pool may have changed.
    pub address: IpAddr,
    /// The lineage of the lease.
    pub lineage: u64,
    /// The expiry in seconds since 1970.
    pub expires: u64,
}

/// The length of a ticket key in bytes (AES-256).
pub const TICKET_KEY_LEN: usize = 32;

/// Most keys whose tickets a server opens, the current one included; it tries each.
pub const MAX_TICKET_KEYS: usize = 16;

/// Seals and opens tickets under a key derived from the TLS private key.
pub struct TicketSealer {
    current: TicketKey,
    /// The keys before certificate reloads, the latest first.
    previous: Vec<TicketKey>,
}

/// A key and its cipher; the bytes identify a key that is used again.
#[derive(Clone)]
struct TicketKey {
    bytes: Zeroizing<[u8; TICKET_KEY_LEN]>,
    cipher: Arc<LessSafeKey>,
}

impl TicketKey {
    fn new(bytes: &[u8; TICKET_KEY_LEN]) -> Self {
        Self {
            bytes: Zeroizing::new(*bytes),
            cipher: Arc::new(aes_256(bytes)),
        }
    }
}

impl fmt::Debug for TicketSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketSealer").finish_non_exhaustive()
    }
}

impl TicketSealer {
    /// Makes a sealer that seals under `key`, and opens tickets under it and `previous`.
    #[must_use]
    pub fn new(key: &[u8; TICKET_KEY_LEN], previous: Option<&[u8; TICKET_KEY_LEN]>) -> Self {
        Self {
            current: TicketKey::new(key),
            previous: previous.into_iter().map(TicketKey::new).collect(),
        }
    }

    /// Returns the sealer after a change to `key`. It also opens tickets under the latest
    /// [`MAX_TICKET_KEYS`] - 1 earlier keys.
    #[must_use]
    pub fn rotated_to(&self, key: &[u8; TICKET_KEY_LEN]) -> Self {
        let earlier = [&self.current].into_iter().chain(&self.previous);
        Self {
            current: TicketKey::new(key),
            previous: earlier
                .filter(|earlier| *earlier.bytes != *key)
                .take(MAX_TICKET_KEYS - 1)
                .cloned()
                .collect(),
        }
    }

    /// Seals a ticket for `address` in `lineage` that is valid for [`TICKET_LIFETIME`] from `now`.
    ///
    /// # Errors
    /// `None` for an IPv6 address, which version 1 cannot hold, and if the system gives no random
    /// bytes; the session then has no ticket.
    #[must_use]
    pub fn seal(&self, address: IpAddr, lineage: u64, now: SystemTime) -> Option<String> {
        let IpAddr::V4(address) = address else {
            return None;
        };
        let expires = seconds(now).saturating_add(TICKET_LIFETIME.as_secs());
        let mut plain = [0; PLAIN_LEN];
        plain[0] = VERSION;
        plain[1..5].copy_from_slice(&address.octets());
        plain[5..13].copy_from_slice(&lineage.to_be_bytes());
        plain[13..].copy_from_slice(&expires.to_be_bytes());
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let tag = self
            .current
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(CONTEXT),
                &mut plain,
            )
            .ok()?;
        Some(STANDARD_NO_PAD.encode([&nonce[..], &plain[..], tag.as_ref()].concat()))
    }

    /// Opens a ticket.
    ///
    /// # Errors
    /// [`TicketError`] for a malformed, foreign or expired ticket.
    pub fn open(&self, text: &str, now: SystemTime) -> Result<Ticket, TicketError> {
        if text.len() > TEXT_MAX {
            return Err(TicketError::Malformed);
        }
        let sealed = STANDARD_NO_PAD
            .decode(text)
            .map_err(|_| TicketError::Malformed)?;
        if sealed.len() != NONCE_LEN + PLAIN_LEN + TAG_LEN {
            return Err(TicketError::Malformed);
        }
        let plain = std::iter::once(&self.current)
            .chain(&self.previous)
            .find_map(|key| open_with(&key.cipher, &sealed))
            .ok_or(TicketError::WrongKey)?;
        if plain[0] != VERSION {
            return Err(TicketError::Malformed);
        }
        let ticket = Ticket {
            address: [plain[1], plain[2], plain[3], plain[4]].into(),
            lineage: be_u64(&plain[5..13]),
            expires: be_u64(&plain[13..21]),
        };
        if ticket.expires <= seconds(now) {
            return Err(TicketError::Expired);
        }
        Ok(ticket)
    }
}

fn open_with(key: &LessSafeKey, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_at(NONCE_LEN);
    let mut body = body.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let len = key
        .open_in_place(nonce, Aad::from(CONTEXT), &mut body)
        .ok()?
        .len();
    body.truncate(len);
    Some(body)
}

fn aes_256(key: &[u8; TICKET_KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("AES-256 takes 32 bytes"))
}

fn be_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
