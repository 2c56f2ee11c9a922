//! The request body of `POST /connect`.
//!
//! Invariants: a decoded request is of version 1 and has an `mtu` above 0. The nonce is
//! still text, because the server checks it later and answers differently.

use std::fmt;

use super::fields::{StringList, read_object, set_if_string, set_integer, set_string};
use super::json::Value;
use super::json_text::{folded, write_string, write_strings};
use super::{BadMessage, DEFAULT_MTU, DecodeError, VERSION};

/// A connect request. `max_mtu` and `resume` are fields of our own, which Go servers ignore.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectRequest {
    /// Protocol version, always 1 after decoding.
    pub version: u8,
    /// The client's nonce as text ([`Nonce::from_text`](super::Nonce::from_text)), not checked yet;
    /// empty where the field is missing.
    pub client_nonce: String,
    /// Largest datagram in bytes that the client asks for; missing, null, zero and negative mean
    /// [`DEFAULT_MTU`]. A server still has to bound it from below and from above.
    pub mtu: i64,
    /// Names of extensions that the client has; see [`Capabilities`](super::Capabilities).
    pub caps: Vec<String>,
    /// A name that the client's user chose; what was no UTF-8 is U+FFFD. Untrusted text.
    pub client_id: String,
    /// The client's operating system. Untrusted text.
    pub platform: String,
    /// The `mtu` that the client would accept from a server of this suite, where `mtu` itself has
    /// to stay low for the sake of Go servers.
    pub max_mtu: Option<u16>,
    /// The ticket of an earlier response, to get the same inner address again. A bearer secret.
    pub resume: Option<String>,
}

impl ConnectRequest {
    /// Reads the first JSON value of a body; bytes after it are ignored.
    ///
    /// # Errors
    /// [`DecodeError::Incomplete`] where `body` is the beginning of a value that may still become
    /// right, [`DecodeError::Bad`] where nothing can make it right.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut caps = StringList::default();
        let mut request = Self::default();
        read_object(body, |key, value| request.set(&mut caps, key, value))?;
        if request.version != VERSION {
            return Err(BadMessage::Version(request.version).into());
        }
        if request.mtu <= 0 {
            request.mtu = DEFAULT_MTU;
        }
        request.caps = caps.into_vec();
        Ok(request)
    }

    fn set(
        &mut self,
        caps: &mut StringList,
        key: &[u8],
        value: Value<'_>,
    ) -> Result<(), DecodeError> {
        match folded(key).as_str() {
            "version" => set_integer("version", &mut self.version, value)?,
            "client_nonce" => set_string("client_nonce", &mut self.client_nonce, value)?,
            "mtu" => set_integer("mtu", &mut self.mtu, value)?,
            "caps" => caps.set("caps", value)?,
            "client_id" => set_string("client_id", &mut self.client_id, value)?,
            "platform" => set_string("platform", &mut self.platform, value)?,
            "max_mtu" => {
                if let Value::Number(digits) = value {
                    self.max_mtu = digits.parse().ok().or(self.max_mtu);
                }
            }
            "resume" => set_if_string(&mut self.resume, value),
            _ => {}
        }
        Ok(())
    }

    /// Returns the body's bytes: key order and escapes as Go writes them, empty `caps`, `client_id`
    /// and `platform` left out, fields of our own last and only when set.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{{\"version\":{},\"client_nonce\":", self.version).into_bytes();
        write_string(&mut out, &self.client_nonce);
        out.extend_from_slice(format!(",\"mtu\":{}", self.mtu).as_bytes());
        if !self.caps.is_empty() {
            out.extend_from_slice(b",\"caps\":");
            write_strings(&mut out, &self.caps);
        }
        if !self.client_id.is_empty() {
            out.extend_from_slice(b",\"client_id\":");
            write_string(&mut out, &self.client_id);
        }
        if !self.platform.is_empty() {
            out.extend_from_slice(b",\"platform\":");
            write_string(&mut out, &self.platform);
        }
        if let Some(max_mtu) = self.max_mtu {
            out.extend_from_slice(format!(",\"max_mtu\":{max_mtu}").as_bytes());
        }
        if let Some(resume) = &self.resume {
            out.extend_from_slice(b",\"resume\":");
            write_string(&mut out, resume);
        }
        out.push(b'}');
        out
    }
}

impl fmt::Debug for ConnectRequest {
    /// Shows everything but the ticket, which would give its reader the session's address.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ConnectRequest")
            .field("version", &self.version)
            .field("client_nonce", &self.client_nonce)
            .field("mtu", &self.mtu)
            .field("caps", &self.caps)
            .field("client_id", &self.client_id)
            .field("platform", &self.platform)
            .field("max_mtu", &self.max_mtu)
            .field(
                "resume",
                &self.resume.as_ref().map(|_| format_args!("[redacted]")),
            )
            .finish()
    }
}
