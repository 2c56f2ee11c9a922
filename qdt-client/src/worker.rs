//! The packet worker as the driver sees it: commands in, events out.
//!
//! Invariants: events arrive in the order in which they happened; no command or event holds the
//! token, so all of them may be logged; dropping a [`ClientWorker`] ends it and waits for it, so
//! that its connections are closed when the program exits.

use qdt_host::Outside;
use qdt_program::Token;
use qdt_proto::handshake::Capabilities;
use qdt_proto::http3::MAX_FIELD_VALUE;
use qdt_transport::{
    BindError, ClientCommand, ClientEvent, ClientSettings, ClientTls, ClientTrust, ClientWorker,
    TrustError,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use zeroize::Zeroizing;

use crate::config::ClientConfig;

// Every token that the configuration accepts fits a header field.
const _: () = assert!(Token::MAX_LEN == MAX_FIELD_VALUE);

/// Takes commands for the packet worker. Never blocks.
pub trait WorkerHandle: Send {
    /// Sends one command.
    ///
    /// # Errors
    /// The worker has ended; the tunnel cannot go on.
    fn send(&mut self, command: ClientCommand) -> Result<(), WorkerGone>;
}

/// The packet worker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the packet worker has ended")]
pub struct WorkerGone;

impl WorkerHandle for ClientWorker {
    fn send(&mut self, command: ClientCommand) -> Result<(), WorkerGone> {
        ClientWorker::send(self, command)
            .then_some(())
            .ok_or(WorkerGone)
    }
}

/// The worker of a test, which reads the commands from the other end.
impl WorkerHandle for UnboundedSender<ClientCommand> {
    fn send(&mut self, command: ClientCommand) -> Result<(), WorkerGone> {
        UnboundedSender::send(self, command).map_err(|_| WorkerGone)
    }
}

/// The reason why the packet worker did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// The CA file, the pin or the system's roots are not usable.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No socket that stays outside the tunnel, or no thread.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Starts a packet worker for the server of `config`, which announces `caps` and whose own packets
/// stay `outside` the tunnel.
///
/// # Errors
/// See [`WorkerError`]; no worker runs then.
pub(crate) fn start(
    config: &ClientConfig,
    caps: Capabilities,
    outside: Outside,
) -> Result<(ClientWorker, UnboundedReceiver<ClientEvent>), WorkerError> {
    let settings = settings(config, caps, outside)?;
    let (sender, events) = unbounded_channel();
    let report = move |event| {
        // After the exit there is no receiver.
        let _ = sender.send(event);
    };
    Ok((ClientWorker::start(settings, report)?, events))
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

/// Returns whom to trust. A pin overrides everything, `insecure` overrides a CA file.
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

/// Returns the host of `server`; an empty one is this machine, as in Go.
fn server_name(config: &ClientConfig) -> &str {
    match config.server.host_without_zone() {
        "" => "localhost",
        host => host,
    }
}

/// Returns `:authority`, without the port where it is that of https (RFC 9110, section 4.2.2).
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
