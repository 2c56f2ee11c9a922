//! The QUIC connection of a probe: TLS without any check of the certificate,
//! ALPN `h3`, datagrams on, and the HTTP/3 control stream unless told not to.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, RecvStream, SendStream,
    TokioRuntime, TransportConfig,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::runtime;
use crate::Machine;

/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why no connection came about.
#[derive(Debug)]
pub enum ConnectError {
    /// QUIC ended it.
    Connection(ConnectionError),
    /// Nothing came of it in ten seconds.
    TimedOut,
}

/// An open connection of a probe.
#[derive(Debug)]
pub struct Probe {
    endpoint: Endpoint,
    connection: Connection,
    /// Kept open: a control stream that ends is an error of the connection.
    control: Option<SendStream>,
}

impl Probe {
    /// Connects from `machine` and opens the control stream with
    /// `SETTINGS_H3_DATAGRAM` = 1.
    ///
    /// # Panics
    /// When the server does not take the connection.
    #[must_use]
    #[track_caller]
    pub fn connect(machine: &Machine, server: SocketAddr) -> Self {
        match Self::connect_silently(machine, server) {
            Ok(probe) => probe.with_settings(),
            Err(error) => panic!("the probe cannot connect to {server}: {error:?}"),
        }
    }

    /// Connects and sends nothing on any stream.
    ///
    /// # Errors
    /// [`ConnectError`]: the server did not take it.
    pub fn connect_silently(machine: &Machine, server: SocketAddr) -> Result<Self, ConnectError> {
        Self::connect_on(&Self::endpoint(machine, server), server)
    }

    /// One more connection from a socket that several may share.
    ///
    /// # Errors
    /// [`ConnectError`]: the server did not take it.
    pub fn connect_on(endpoint: &Endpoint, server: SocketAddr) -> Result<Self, ConnectError> {
        Self::connect_as(endpoint, server, "qdt.test", lab_transport(), PATIENCE)
    }

    /// One more connection that asks for the server by `name` (a DNS name or an IP address; what is
    /// neither is replaced by the server's address), with QUIC parameters of the caller's choice.
    ///
    /// # Errors
    /// [`ConnectError`]: the server did not take it `within` that time.
    pub fn connect_as(
        endpoint: &Endpoint,
        server: SocketAddr,
        name: &str,
        transport: TransportConfig,
        within: Duration,
    ) -> Result<Self, ConnectError> {
        let _runtime = runtime().enter();
        let address = server.ip().to_string();
        let name = ServerName::try_from(name).map_or(address.as_str(), |_| name);
        let connecting = endpoint
            .connect_with(client_config(transport), server, name)
            .expect("the configuration is complete");
        match finish(within, connecting) {
            Some(Ok(connection)) => Ok(Self {
                endpoint: endpoint.clone(),
                connection,
                control: None,
            }),
            Some(Err(error)) => Err(ConnectError::Connection(error)),
            None => Err(ConnectError::TimedOut),
        }
    }

    /// As [`Probe::connect`], from a source address of the test's choice.
    ///
    /// # Panics
    /// When the address cannot be used or the server does not answer.
    #[must_use]
    #[track_caller]
    pub fn connect_from(machine: &Machine, source: &str, server: SocketAddr) -> Self {
        let source: std::net::IpAddr = source.parse().expect("an IP address");
        let endpoint = Self::endpoint_from(machine, source);
        match Self::connect_on(&endpoint, server) {
            Ok(probe) => probe.with_settings(),
            Err(error) => panic!("the probe cannot connect to {server}: {error:?}"),
        }
    }

    /// Opens the control stream with `SETTINGS_H3_DATAGRAM` = 1.
    ///
    /// # Panics
    /// When the connection is gone or the server grants no stream.
    #[must_use]
    #[track_caller]
    pub fn with_settings(mut self) -> Self {
        let opened = runtime().block_on(async {
            let mut control = self.connection.open_uni().await.ok()?;
            control
                .write_all(&qdt_proto::http3::control_stream_preface())
                .await
                .ok()?;
            Some(control)
        });
        self.control = Some(opened.expect("a server grants a control stream"));
        self
    }

    /// A UDP socket on `machine` for connections of the server's family.
    ///
    /// # Panics
    /// When there is no socket to be had.
    #[must_use]
    pub fn endpoint(machine: &Machine, server: SocketAddr) -> Endpoint {
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        Self::endpoint_on(machine, any.parse().expect("an address"))
    }

    /// A UDP socket on `machine` with that address.
    ///
    /// # Panics
    /// When the address is not the machine's, or there is no socket to be had.
    #[must_use]
    pub fn endpoint_from(machine: &Machine, source: std::net::IpAddr) -> Endpoint {
        Self::endpoint_on(machine, SocketAddr::new(source, 0))
    }

    fn endpoint_on(machine: &Machine, local: SocketAddr) -> Endpoint {
        let socket = machine
            .enter(|| UdpSocket::bind(local))
            .unwrap_or_else(|error| panic!("bind {local} on {}: {error}", machine.name()));
        Self::endpoint_of(socket)
    }

    /// An endpoint on a socket that is bound already.
    ///
    /// # Panics
    /// When the system refuses to work with the socket without blocking.
    #[must_use]
    pub fn endpoint_of(socket: UdpSocket) -> Endpoint {
        make_room(&socket);
        let _runtime = runtime().enter();
        Endpoint::new(
            EndpointConfig::default(),
            None,
            socket,
            Arc::new(TokioRuntime),
        )
        .expect("a QUIC endpoint on a bound socket")
    }

    /// Opens a bidirectional stream.
    ///
    /// # Errors
    /// The end of the connection; a stream that is not granted within two
    /// seconds is `None`.
    pub fn open_stream(&self) -> Result<Option<(SendStream, RecvStream)>, ConnectionError> {
        finish(Duration::from_secs(2), self.connection.open_bi()).transpose()
    }

    /// Opens that many streams, writes `beginning` on each and then `more`
    /// again and again; another one for each that the server stops, for as
    /// long as the connection stands. Returns at once.
    pub fn flood_streams(&self, count: usize, beginning: &[u8], more: &[u8]) {
        for _ in 0..count {
            let connection = self.connection.clone();
            let (beginning, more) = (beginning.to_vec(), more.to_vec());
            runtime().spawn(async move {
                while let Ok((mut send, _receive)) = connection.open_bi().await {
                    let mut sent = send.write_all(&beginning).await;
                    while sent.is_ok() {
                        sent = send.write_all(&more).await;
                    }
                }
            });
        }
    }

    /// Sends the bytes of one DATAGRAM frame as they are. What does not fit or
    /// finds no room is dropped.
    pub fn send_datagram(&self, bytes: Vec<u8>) {
        let _ = self.connection.send_datagram(Bytes::from(bytes));
    }

    /// Sends the bytes of one DATAGRAM frame and waits until there is room.
    pub fn send_datagram_wait(&self, bytes: Vec<u8>) {
        let _ = runtime().block_on(self.connection.send_datagram_wait(Bytes::from(bytes)));
    }

    /// Sends many DATAGRAM frames one after the other and waits for room where
    /// there is none.
    pub fn send_datagrams(&self, frames: impl IntoIterator<Item = Vec<u8>>) {
        runtime().block_on(async {
            for bytes in frames {
                let _ = self.connection.send_datagram_wait(Bytes::from(bytes)).await;
            }
        });
    }

    /// The next DATAGRAM frame that comes `within` that time.
    #[must_use]
    pub fn receive_datagram(&self, within: Duration) -> Option<Bytes> {
        finish(within, self.connection.read_datagram())?.ok()
    }

    /// Why the connection has ended, if it does `within` that time.
    #[must_use]
    pub fn closed(&self, within: Duration) -> Option<ConnectionError> {
        finish(within, self.connection.closed())
    }

    /// Whether the connection stands.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// The QUIC connection itself, for another library to speak on.
    pub(crate) fn quic(&self) -> &Connection {
        &self.connection
    }

    /// STREAM frames that have left on this connection: what was written before one of them left
    /// has been sent, or was kept back by flow control.
    #[must_use]
    pub fn stream_frames_sent(&self) -> u64 {
        self.connection.stats().frame_tx.stream
    }

    /// Goes on from another socket, as a client does whose address changed (RFC 9000 section 9).
    ///
    /// # Panics
    /// When the system refuses to work with the socket without blocking.
    pub fn move_to(&self, socket: UdpSocket) {
        let _runtime = runtime().enter();
        self.endpoint
            .rebind(socket)
            .expect("a bound socket can be taken over");
    }

    /// Closes the connection with application code 0, as the Go client does, and does not wait.
    pub fn hang_up(&self) {
        self.connection.close(0_u32.into(), b"");
    }

    /// Closes the connection with application code 0, as the Go client does,
    /// and waits until the server must have been told.
    pub fn close(&self) {
        self.connection.close(0_u32.into(), b"");
        finish(Duration::from_secs(1), self.endpoint.wait_idle());
    }
}

/// Answers to many connections come at once on one socket.
fn make_room(socket: &UdpSocket) {
    use std::os::fd::AsRawFd as _;
    let size: libc::c_int = 8 << 20;
    // SAFETY: the value outlives the call and its size is given. A refusal costs a repetition at
    // most.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const size).cast(),
            size_of_val(&size) as libc::socklen_t,
        );
    }
}

/// Runs a future of a stream to its end, for at most `within`.
pub(crate) fn finish<T>(within: Duration, work: impl Future<Output = T>) -> Option<T> {
    runtime().block_on(async { tokio::time::timeout(within, work).await.ok() })
}

fn client_config(transport: TransportConfig) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let quic = QuicClientConfig::try_from(tls).expect("the provider has AES-128-GCM");
    let mut config = ClientConfig::new(Arc::new(quic));
    config.transport_config(Arc::new(transport));
    config
}

/// The lab's network carries 1400 bytes, and its tests send datagrams by the thousand.
fn lab_transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .initial_mtu(1400)
        .min_mtu(1400)
        .mtu_discovery_config(None)
        .datagram_send_buffer_size(8 << 20)
        .datagram_receive_buffer_size(Some(8 << 20));
    transport
}

/// Takes every certificate: who the server is does not matter to a probe.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
