//! The socket option that keeps the tunnel's own packets outside the tunnel.

/// Makes a socket bypass the tunnel ([`Outside::apply`]). The transport's sockets need it, or their
/// packets would loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// A firewall mark that the tunnel's policy rules exempt.
    Mark(u32),
    /// The index of the outgoing interface, which takes precedence over the routes.
    Interface(u32),
}
