//! The `resume` ticket: a sealed claim on an inner address that survives a restart of the server.
//!
//! Layout before sealing: version 1 | IPv4 address | lineage u64 | expiry u64 (seconds since 1970),
//! big-endian, 21 bytes. Sealed with AES-256-GCM under a random 12-byte nonce that stands in front,
//! written as unpadded standard base64. The key is one of those derived from the TLS private key:
//! whoever restarts the server with the same key can open the tickets it gave out before, and
//! nobody else can. A server whose key changes while it runs goes on opening tickets of its earlier
//! ones. A ticket never stands in for the token; it only says which address its bearer had.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

/// How long a ticket is good for. A response carries one ticket and a session may live for months,
/// so it is long; holding it gives nothing beyond an address that nobody else has.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

const VERSION: u8 = 1;
const PLAIN_LEN: usize = 21;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const TEXT_MAX: usize = (NONCE_LEN + PLAIN_LEN + TAG_LEN).div_ceil(3) * 4;
const CONTEXT: &[u8] = b"qdt resume ticket";

/// Why a ticket is not honoured. Its bearer is served all the same, with another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Not the text of a ticket.
    #[error("the resume ticket is not one of this format")]
    Malformed,
    /// Sealed by a server with another TLS key, or altered.
    #[error("the resume ticket was not sealed under this server's TLS key")]
    NotOurs,
    /// Its time is over.
    #[error("the resume ticket has expired")]
    Expired,
}

/// What a ticket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The inner address its bearer had: not its index, because the pool may be another by now.
    pub address: IpAddr,
    /// The lineage of the grant.
    pub lineage: u64,
    /// Until when, in whole seconds since 1970.
    pub expires: u64,
}

/// Bytes of a ticket key (AES-256).
pub const TICKET_KEY_LEN: usize = 32;

/// So many keys a server opens tickets of: the one in use and those before it. Bounded, because
/// each of them is tried.
pub const TICKET_KEYS: usize = 16;

/// Seals and opens tickets under a key derived from the TLS private key.
pub struct TicketSealer {
    current: TicketKey,
    /// The keys before certificate reloads, the latest first: their tickets stay good.
    previous: Vec<TicketKey>,
}

/// A key and its cipher; the bytes tell whether a key came back.
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
    /// Seals under `key`; opens what was sealed under it or under `previous`, the key that was in
    /// use before.
    #[must_use]
    pub fn new(key: &[u8; TICKET_KEY_LEN], previous: Option<&[u8; TICKET_KEY_LEN]>) -> Self {
        Self {
            current: TicketKey::new(key),
            previous: previous.into_iter().map(TicketKey::new).collect(),
        }
    }

    /// The sealer after a change to `key`: it opens what this one does, as long as fewer than
    /// [`TICKET_KEYS`] keys came since.
    #[must_use]
    pub fn changed_to(&self, key: &[u8; TICKET_KEY_LEN]) -> Self {
        let earlier = [&self.current].into_iter().chain(&self.previous);
        Self {
            current: TicketKey::new(key),
            previous: earlier
                .filter(|earlier| *earlier.bytes != *key)
                .take(TICKET_KEYS - 1)
                .cloned()
                .collect(),
        }
    }

    /// Seals a ticket for `address` in `lineage` that is good for [`TICKET_LIFETIME`] from `now`.
    ///
    /// # Errors
    /// `None` for an IPv6 address, which this version of tickets does not hold, and if the system
    /// gives no random bytes: the session works, only without a ticket.
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

    /// Opens the text of a ticket.
    ///
    /// # Errors
    /// [`TicketError`] for text that is none, that another key sealed, or whose time is over.
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
            .ok_or(TicketError::NotOurs)?;
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
