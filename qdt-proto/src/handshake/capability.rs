//! Extensions of the protocol: announced in a request's `caps`, confirmed in the response's
//! `caps`, and never used otherwise. Go peers name none of these and ignore them all.

/// One extension that this implementation knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// `aes-256-gcm`: datagrams are sealed with AES-256-GCM instead of ChaCha20-Poly1305.
    Aes256Gcm,
    /// `ping`: pings and pongs carry a timestamp, for liveness and round-trip time.
    Ping,
    /// `close`: a datagram of type close tells why the session ends.
    Close,
}

impl Capability {
    /// Every capability, in the order in which they are announced.
    pub const ALL: [Self; 3] = [Self::Aes256Gcm, Self::Ping, Self::Close];

    /// The name in `caps`.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::Ping => "ping",
            Self::Close => "close",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of capabilities. The empty set is what a Go peer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(u8);

impl Capabilities {
    /// No extension at all.
    pub const NONE: Self = Self(0);

    /// Every extension of this implementation: what our client announces.
    #[must_use]
    pub fn all() -> Self {
        Capability::ALL.into_iter().collect()
    }

    /// The known ones among the names that a peer announced or confirmed; unknown names are
    /// ignored, case matters.
    #[must_use]
    pub fn negotiate(names: &[String]) -> Self {
        Capability::ALL
            .into_iter()
            .filter(|capability| names.iter().any(|name| name == capability.text()))
            .collect()
    }

    /// Whether the set holds this one.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & capability.bit() != 0
    }

    /// Whether the set holds nothing: the peer is a Go program, or acts as one.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What both sets hold.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The names for `caps`, in the order of [`Capability::ALL`].
    #[must_use]
    pub fn to_texts(self) -> Vec<String> {
        Capability::ALL
            .into_iter()
            .filter(|capability| self.contains(*capability))
            .map(|capability| capability.text().to_owned())
            .collect()
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        Self(
            capabilities
                .into_iter()
                .fold(0, |bits, capability| bits | capability.bit()),
        )
    }
}
