//! How the tunnel's own packets leave the host outside the tunnel.

/// What a socket of the tunnel itself is given ([`Outside::apply`]), so that its packets never
/// enter the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// A mark that the rules of the tunnel's routes spare.
    Mark(u32),
    /// The index of the interface to leave by, whatever the routes say.
    Interface(u32),
}
