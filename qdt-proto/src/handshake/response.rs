//! The body of a 200 response to `POST /connect`.
//!
//! Invariants: a decoded response is of version 1 and has an `mtu` above 0. Its texts are
//! the server's, unchecked: see [`Assignment`](super::Assignment).

use std::fmt;

use super::fields::{StringList, read_object, set_if_string, set_integer, set_string};
use super::json::Value;
use super::json_text::{folded, write_string, write_strings};
use super::{BadMessage, DEFAULT_MTU, DecodeError, VERSION};
use crate::datagram::SessionId;

/// A connect response. `caps` and `resume` are fields of our own: a Go server never sends them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectResponse {
    /// Protocol version, always 1 after decoding.
    pub version: u8,
    /// The session id in the header of every datagram of the session.
    pub session_id: SessionId,
    /// The server's nonce as text; see [`Nonce::from_text`](super::Nonce::from_text).
    pub server_nonce: String,
    /// Largest datagram in bytes, in both directions: the minimum of what both ends want.
    pub mtu: i64,
    /// The client's address inside the tunnel.
    pub client_ip: String,
    /// The server's address inside the tunnel.
    pub gateway_ip: String,
    /// The pool as the server's configuration spells it.
    pub cidr: String,
    /// Addresses of name servers to use while the tunnel is up; often none.
    pub dns: Vec<String>,
    /// Extensions that the server confirmed; `None` comes from a Go server.
    pub caps: Option<Vec<String>>,
    /// A ticket to get the same inner address again. A bearer secret.
    pub resume: Option<String>,
}

impl ConnectResponse {
    /// Reads the first JSON value of a body, looking at [`MAX_BODY`](super::MAX_BODY) bytes.
    ///
    /// # Errors
    /// [`DecodeError::Incomplete`] where `body` is the beginning of a value that may still become
    /// right, [`DecodeError::Bad`] where nothing can make it right.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut dns = StringList::default();
        let mut response = Self::default();
        read_object(body, |key, value| response.set(&mut dns, key, value))?;
        if response.version != VERSION {
            return Err(BadMessage::Version(response.version).into());
        }
        if response.mtu <= 0 {
            response.mtu = DEFAULT_MTU;
        }
        response.dns = dns.into_vec();
        Ok(response)
    }

    fn set(
        &mut self,
        dns: &mut StringList,
        key: &[u8],
        value: Value<'_>,
    ) -> Result<(), DecodeError> {
        match folded(key).as_str() {
            "version" => set_integer("version", &mut self.version, value)?,
            "session_id" => set_integer("session_id", &mut self.session_id.0, value)?,
            "server_nonce" => set_string("server_nonce", &mut self.server_nonce, value)?,
            "mtu" => set_integer("mtu", &mut self.mtu, value)?,
            "client_ip" => set_string("client_ip", &mut self.client_ip, value)?,
            "gateway_ip" => set_string("gateway_ip", &mut self.gateway_ip, value)?,
            "cidr" => set_string("cidr", &mut self.cidr, value)?,
            "dns" => dns.set("dns", value)?,
            "caps" if matches!(value, Value::Array(_)) => {
                let mut caps = StringList::default();
                self.caps = caps.set("caps", value).ok().map(|()| caps.into_vec());
            }
            "resume" => set_if_string(&mut self.resume, value),
            _ => {}
        }
        Ok(())
    }

    /// Returns the body's bytes, as Go writes them: fixed key order, empty `dns` left out, `caps`
    /// and `resume` only when set, a line feed at the end.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!(
            "{{\"version\":{},\"session_id\":{},\"server_nonce\":",
            self.version, self.session_id.0
        )
        .into_bytes();
        write_string(&mut out, &self.server_nonce);
        out.extend_from_slice(format!(",\"mtu\":{},\"client_ip\":", self.mtu).as_bytes());
        write_string(&mut out, &self.client_ip);
        out.extend_from_slice(b",\"gateway_ip\":");
        write_string(&mut out, &self.gateway_ip);
        out.extend_from_slice(b",\"cidr\":");
        write_string(&mut out, &self.cidr);
        if !self.dns.is_empty() {
            out.extend_from_slice(b",\"dns\":");
            write_strings(&mut out, &self.dns);
        }
        if let Some(caps) = &self.caps {
            out.extend_from_slice(b",\"caps\":");
            write_strings(&mut out, caps);
        }
        if let Some(resume) = &self.resume {
            out.extend_from_slice(b",\"resume\":");
            write_string(&mut out, resume);
        }
        out.extend_from_slice(b"}\n");
        out
    }
}

impl fmt::Debug for ConnectResponse {
    /// Shows everything but the ticket, which would give its reader the session's address.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectResponse")
            .field("version", &self.version)
            .field("session_id", &self.session_id)
            .field("server_nonce", &self.server_nonce)
            .field("mtu", &self.mtu)
            .field("client_ip", &self.client_ip)
            .field("gateway_ip", &self.gateway_ip)
            .field("cidr", &self.cidr)
            .field("dns", &self.dns)
            .field("caps", &self.caps)
            .field(
                "resume",
                &self.resume.as_ref().map(|_| format_args!("[redacted]")),
            )
            .finish()
    }
}
