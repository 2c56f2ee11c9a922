//! A client that does what it is told, also what no client should do: raw
//! streams, raw datagrams, counters, types and sizes of the test's choice.
//!
//! The inner AEAD is RustCrypto's. QUIC is quinn's, on the server's own engine (quinn-proto). The
//! key schedule, the QPACK encoder, the reader of responses, the decoder of the connect response
//! and the opening of the control stream are qdt-proto's: a fault that both ends share does not
//! show here. The recorded vectors and the peers that have none of this code (Go, aioquic) would
//! show it.
//! Its functions block; one runtime for all probes works behind them.

mod connection;
mod http;
mod packet;
mod seal;
mod session;

pub(crate) use connection::finish;
pub use connection::{ConnectError, Probe};
pub use http::{Answer, Exchange, request_body};
pub use packet::{echo_request, ipv4_packet, udp_packet};
pub use seal::{RawMessage, RawOpener, RawSealer};
pub use session::{Session, SessionOptions};

use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

/// The runtime behind all probes of the process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime with one thread can be started")
    })
}
