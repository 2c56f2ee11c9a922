//! The link to the real packet worker.
//!
//! What always holds here: dropping the link ends the worker and waits for it, so that the close
//! of its connections has been sent when the program exits.

use qdt_host::Outside;
use qdt_program::Token;
use qdt_proto::handshake::Capabilities;
use qdt_proto::http3::MAX_FIELD_VALUE;
use qdt_transport::{
    BindError, ClientCommand, ClientEvent, ClientSettings, ClientTls, ClientTrust, ClientWorker,
    TrustError,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use zeroize::Zeroizing;

use super::{Link, LinkGone};
use crate::config::ClientConfig;

// Every token that the configuration accepts reaches the server.
const _: () = assert!(Token::MAX_LEN == MAX_FIELD_VALUE);

/// Why there is no packet worker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// Nobody to trust: the CA file, the pin or the system's roots are not usable.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No socket that stays outside the tunnel, or no thread.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// A running packet worker.
#[derive(Debug)]
pub(crate) struct WorkerLink {
    worker: ClientWorker,
}

impl WorkerLink {
    /// Starts a worker for the server and the token of `config`, which announces `caps`. Its own
    /// packets stay `outside` the tunnel.
    ///
    /// # Errors
    /// See [`WorkerError`]; nothing runs then.
    pub(crate) fn start(
        config: &ClientConfig,
        caps: Capabilities,
        outside: Outside,
    ) -> Result<(Self, UnboundedReceiver<ClientEvent>), WorkerError> {
        let settings = settings(config, caps, outside)?;
        let (events, seen) = unbounded_channel();
        let report = move |event| {
            // Nobody listens any more once the tunnel has stopped.
            let _ = events.send(event);
        };
        Ok((
            Self {
                worker: ClientWorker::start(settings, report)?,
            },
            seen,
        ))
    }
}

impl Link for WorkerLink {
    fn send(&mut self, command: ClientCommand) -> Result<(), LinkGone> {
        if self.worker.send(command) {
            Ok(())
        } else {
            Err(LinkGone)
        }
    }
}

fn settings(
    config: &ClientConfig,
    caps: Capabilities,
    outside: Outside,
) -> Result<ClientSettings, TrustError> {
    Ok(ClientSettings {
        tls: ClientTls::new(&trust(config))?,
        outside: Some(outside),
        server_name: server_name(config).to_owned(),
        authority: authority(config),
        token: Zeroizing::new(config.token.as_bytes().to_vec()),
        mtu: config.mtu,
        caps,
        client_id: config.client_id.clone(),
        dial_timeout: config.timeout,
        probe_interval: config.probe_interval,
        max_reassembly_bytes: config.max_reassembly_bytes,
    })
}

/// A pin says more than any chain, and `insecure` less than none.
fn trust(config: &ClientConfig) -> ClientTrust {
    if let Some(pin) = config.server_pin {
        ClientTrust::Pin(pin)
    } else if config.insecure {
        ClientTrust::Anyone
    } else if let Some(file) = &config.ca_file {
        ClientTrust::CaFile(file.clone())
    } else {
        ClientTrust::System
    }
}

/// An empty host is this machine, as in Go.
fn server_name(config: &ClientConfig) -> &str {
    match config.server.host_without_zone() {
        "" => "localhost",
        host => host,
    }
}

/// RFC 9110, section 4.2.2: the port is left out where it is that of https.
fn authority(config: &ClientConfig) -> String {
    let host = match server_name(config) {
        address if address.contains(':') => format!("[{address}]"),
        name => name.to_owned(),
    };
    match config.server.port() {
        "" | "443" | "https" => host,
        port => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn config(yaml: &str) -> ClientConfig {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(yaml.as_bytes()).unwrap();
        ClientConfig::load(file.path()).unwrap().config
    }

    #[test]
    fn the_authority_of_an_ipv6_server_stands_in_brackets_and_names_an_unusual_port() {
        for (server, expected, name) in [
            ("vpn.example.org:443", "vpn.example.org", "vpn.example.org"),
            (
                "vpn.example.org:4433",
                "vpn.example.org:4433",
                "vpn.example.org",
            ),
            ("[2001:db8::1]:443", "[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:8443", "[2001:db8::1]:8443", "2001:db8::1"),
            ("[fe80::1%eth0]:443", "[fe80::1]", "fe80::1"),
            ("[fe80::1%eth0]:8443", "[fe80::1]:8443", "fe80::1"),
            (":443", "localhost", "localhost"),
        ] {
            let config = config(&format!(
                "server: \"{server}\"\ntoken: a-token-of-some-length\n"
            ));
            assert_eq!(authority(&config), expected);
            assert_eq!(server_name(&config), name);
        }
    }

    #[test]
    fn a_pin_comes_before_insecure_and_insecure_before_a_ca_file() {
        let base = "server: a:1\ntoken: a-token-of-some-length\n";
        assert_eq!(trust(&config(base)), ClientTrust::System);
        let ca_file = format!("{base}ca_file: ca.pem\n");
        assert_eq!(
            trust(&config(&ca_file)),
            ClientTrust::CaFile("ca.pem".into())
        );
        let insecure = format!("{ca_file}insecure: true\n");
        assert_eq!(trust(&config(&insecure)), ClientTrust::Anyone);
        let pin = "sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let pinned = format!("{insecure}server_pin: {pin}\n");
        assert_eq!(
            trust(&config(&pinned)),
            ClientTrust::Pin(pin.parse().unwrap())
        );
    }
}
