//! Which name servers the client's host asks while the tunnel is up.
//!
//! Name servers are addresses, never text: what a server of a tunnel sends passes
//! [`parse_servers`] first, so that it can become neither an option of a command nor a line of a
//! file.

use std::{future::Future, io, net::IpAddr, path::PathBuf};

/// The name servers of one tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsPlan {
    /// The name of the TUN device.
    pub tun: String,
    /// The servers in order of preference; at least one.
    pub servers: Vec<IpAddr>,
}

/// A name server that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dns: `{text}` is not an IP address")]
pub struct DnsServerError {
    /// What stood there, with control characters escaped, cut after 64 characters.
    pub text: String,
}

/// Reads name servers from text, each an IPv4 or IPv6 address without port, zone or white space.
///
/// # Errors
/// The first that is none.
pub fn parse_servers<S: AsRef<str>>(texts: &[S]) -> Result<Vec<IpAddr>, DnsServerError> {
    let parse = |text: &S| {
        let text = text.as_ref();
        text.parse().map_err(|_| DnsServerError {
            text: text.chars().take(64).flat_map(char::escape_debug).collect(),
        })
    };
    texts.iter().map(parse).collect()
}

/// Directs the host's name look-ups.
pub trait Dns: Send + Sync {
    /// Lets the host ask the servers of `plan`, in place of those of an earlier plan of the same
    /// device.
    fn install(&self, plan: &DnsPlan) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Gives back what was before the first `install` for the device `tun`. Nothing to give back
    /// is no error.
    fn remove(&self, tun: &str) -> impl Future<Output = Result<(), DnsError>> + Send;

    /// Gives back what a killed run for the device `tun`, or for a device that does not exist any
    /// more, left changed. Nothing to give back is no error.
    fn restore_leftovers(&self, tun: &str) -> impl Future<Output = Result<(), DnsError>> + Send;
}

/// Why the host's name servers could not be changed or given back.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The device's name cannot stand in a command.
    #[error("dns: {0}")]
    Name(#[from] crate::InterfaceNameError),
    /// The plan has no server.
    #[error("dns: no name server is given")]
    Empty,
    /// Another tunnel has changed the file and is still up.
    #[error(
        "dns: {path} is in use by the tunnel `{tun}`: stop that client or leave out `dns` here"
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// The other tunnel's device.
        tun: String,
    },
    /// A file could not be read or written.
    #[error("dns: cannot {step} {path}: {source}")]
    File {
        /// What was to be done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// `resolvectl` could not be run.
    #[error("dns: cannot run `resolvectl`: {source}")]
    Run {
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// `resolvectl` refused.
    #[error("dns: `resolvectl {verb}` failed: {message}")]
    Resolved {
        /// What it was asked to do.
        verb: &'static str,
        /// The first line of its complaint.
        message: String,
    },
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::parse_servers;

    #[test]
    fn addresses_of_both_families_are_name_servers() {
        let servers: [IpAddr; 2] = ["10.8.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(
            parse_servers(&["10.8.0.1", "2001:db8::1"]),
            Ok(servers.to_vec())
        );
    }

    #[test]
    fn dns_strings_of_the_server_never_become_command_arguments() {
        for text in [
            "--flag",
            "-i",
            "",
            " 1.1.1.1",
            "1.1.1.1 8.8.8.8",
            "1.1.1.1\nsearch x",
            "1.1.1.1#53",
            "x.y",
        ] {
            assert!(parse_servers(&["9.9.9.9", text]).is_err(), "{text:?}");
        }
        let long = "\u{1b}".repeat(5000);
        let message = parse_servers(&[long]).unwrap_err().to_string();
        assert!(
            message.len() < 1000 && !message.contains('\u{1b}'),
            "{message}"
        );
    }
}
