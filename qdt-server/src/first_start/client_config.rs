//! The client.yaml of a new server, which a client can use as it is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Marks a client.yaml that a first start created, not a user.
pub(super) const GENERATED_MARK: &str = "made at the first start of this server";

/// The contents of client.yaml.
#[derive(Clone, Copy)]
pub struct ClientConfig<'a> {
    /// The server's address, if known.
    pub address: Option<IpAddr>,
    /// The server's UDP port.
    pub port: u16,
    /// The server's token, generated and so plain base64.
    pub token: &'a str,
    /// `sha256/` and the SHA-256 of the certificate's SPKI in base64.
    pub pin: &'a str,
}

impl fmt::Debug for ClientConfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientConfig")
            .field("address", &self.address)
            .field("port", &self.port)
            .field("pin", &self.pin)
            .finish_non_exhaustive()
    }
}

impl ClientConfig<'_> {
    /// Returns the text of client.yaml.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let Self {
            address,
            port,
            token,
            pin,
        } = self;
        let (server, note) = match address {
            Some(address) => (SocketAddr::new(*address, *port).to_string(), ""),
            None => (
                format!("127.0.0.1:{port}"),
                "# This host has no default route: put the address here that clients reach it at.\n",
            ),
        };
        format!(
            "# For qdt-client; {GENERATED_MARK}. Copy it to the client, over a\n\
             # secure way and readable by root only: the token in it is the key to the tunnel.\n\
             {note}server: \"{server}\"\n\
             token: \"{token}\"\n\
             # The server's certificate is known by this pin; no name or CA is checked.\n\
             server_pin: \"{pin}\"\n"
        )
    }
}
