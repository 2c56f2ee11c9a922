//! The four programs in containers: our server and client, and the Go peer in
//! both roles, started with their configuration and waited for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use conformance::{Config, Lab, Metrics, get, ping, wait_for, wait_until};

use crate::container::{Container, Spec};
use crate::network::Network;
use crate::stage::Stage;

/// How long a program may take until it does what it was started for.
const START: Duration = Duration::from_secs(20);
/// The device of both programs, where the configuration names no other.
const DEVICE: &str = "qdt0";
/// Where both programs find their configuration.
const FOLDER: &str = "/etc/qdt";

/// Which of the two implementations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// This project's.
    Ours,
    /// The Go peer.
    Go,
}

/// A running server.
pub(crate) struct Server {
    container: Container,
    kind: Kind,
}

impl Server {
    /// Starts a server and waits until it takes clients.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub(crate) fn start(stage: &Stage, network: &Network, kind: Kind, config: Config) -> Self {
        let path = format!("{FOLDER}/server.yaml");
        let spec = match kind {
            Kind::Ours => Spec::new("server", "qdt-server").command(&["-config", &path]),
            Kind::Go => Spec::new("server", "qdt-go-peer").command(&["server", "-config", &path]),
        };
        let config = match kind {
            Kind::Ours => config,
            Kind::Go => config
                .set("tls_cert", &format!("{FOLDER}/cert.pem"))
                .set("tls_key", &format!("{FOLDER}/key.pem")),
        };
        let container = spec
            .file(&path, config.yaml())
            .network(network)
            .start(stage);
        let server = Self { container, kind };
        server.wait_until_ready();
        server
    }

    /// Waits until it takes clients: /healthz answers 200, or a Go server has
    /// bound its UDP port.
    ///
    /// # Panics
    /// When it ends or stays silent instead.
    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        wait_until("the server takes clients", START, || {
            if let Some(code) = self.ended() {
                panic!("the server ended with {code}:\n{}", self.output());
            }
            match self.kind {
                Kind::Ours => matches!(get(self.machine(), CONTROL, "/healthz"), Ok((200, _))),
                Kind::Go => self.machine().udp_port_is_bound(443),
            }
        });
    }

    /// Starts it again after it has ended, and waits until it takes clients.
    ///
    /// # Panics
    /// When it does not, or comes back with another address.
    #[track_caller]
    pub(crate) fn restart(&mut self, address: IpAddr) {
        self.start_again();
        self.wait_until_ready();
        let now = match address {
            IpAddr::V4(_) => self.ipv4().into(),
            IpAddr::V6(_) => IpAddr::V6(self.ipv6()),
        };
        assert_eq!(now, address, "the engine gave the server another address");
    }

    /// Where clients reach it over IPv4.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        (self.ipv4(), 443).into()
    }

    /// Where clients reach it over IPv6.
    #[track_caller]
    pub(crate) fn address_v6(&self) -> SocketAddr {
        (self.ipv6(), 443).into()
    }

    /// Scrapes /metrics of this project's server.
    ///
    /// # Panics
    /// When it does not answer 200.
    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        match get(self.machine(), CONTROL, "/metrics") {
            Ok((200, text)) => Metrics::parse(&text),
            other => panic!("/metrics: {other:?}"),
        }
    }
}

/// Where metrics and health are served in the server's container.
const CONTROL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9100);

/// A running client.
pub(crate) struct Client {
    container: Container,
}

impl Client {
    /// Starts a client and waits until the gateway answers through the tunnel.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub(crate) fn start(
        stage: &Stage,
        network: &Network,
        kind: Kind,
        server: SocketAddr,
        config: Config,
    ) -> Self {
        let client = Self::spawn(stage, "client", network, kind, server, config);
        client.wait_until_connected();
        client
    }

    /// Starts a client under its own name and does not wait.
    ///
    /// # Panics
    /// When the engine does not start it.
    #[track_caller]
    pub(crate) fn spawn(
        stage: &Stage,
        name: &str,
        network: &Network,
        kind: Kind,
        server: SocketAddr,
        config: Config,
    ) -> Self {
        let path = format!("{FOLDER}/client.yaml");
        let spec = match kind {
            Kind::Ours => Spec::new(name, "qdt-client").command(&["-config", &path]),
            Kind::Go => Spec::new(name, "qdt-go-peer").command(&["client", "-config", &path]),
        };
        let config = config.set("server", &format!("\"{server}\""));
        let container = spec
            .file(&path, config.yaml())
            .network(network)
            .start(stage);
        Self { container }
    }

    /// Waits until the tunnel carries packets and returns the inner address.
    ///
    /// # Panics
    /// When the client ends or does not connect.
    #[track_caller]
    pub(crate) fn wait_until_connected(&self) -> Ipv4Addr {
        wait_for(
            "an answer from the gateway inside the tunnel",
            START,
            || {
                if let Some(code) = self.ended() {
                    panic!("{} ended with {code}:\n{}", self.name(), self.output());
                }
                let address = self.machine().ipv4(DEVICE)?;
                ping(
                    self.machine(),
                    Lab::GATEWAY.into(),
                    56,
                    Duration::from_millis(300),
                )
                .map(|_| address)
            },
        )
    }

    /// The inner address, where it has one.
    #[track_caller]
    pub(crate) fn inner_address(&self) -> Option<Ipv4Addr> {
        self.machine_seen()?.ipv4(DEVICE)
    }

    /// The MTU of its TUN device.
    #[track_caller]
    pub(crate) fn device_mtu(&self) -> usize {
        self.machine().mtu(DEVICE)
    }

    /// Whether the gateway answers an echo request with `size` payload bytes within that time.
    #[track_caller]
    pub(crate) fn pings(&self, size: usize, within: Duration) -> bool {
        ping(self.machine(), Lab::GATEWAY.into(), size, within).is_some()
    }
}

impl Deref for Server {
    type Target = Container;
    fn deref(&self) -> &Container {
        &self.container
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Container {
        &mut self.container
    }
}

impl Deref for Client {
    type Target = Container;
    fn deref(&self) -> &Container {
        &self.container
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Container {
        &mut self.container
    }
}
