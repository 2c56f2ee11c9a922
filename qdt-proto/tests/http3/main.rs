//! The HTTP/3 edge, through its public interface: bytes in, events or errors out.
//!
//! One file per machine; `quic_go` holds it against recordings of quic-go, `properties` against
//! generated input. What the files share stands in `support`.

mod datagrams;
mod properties;
mod qpack;
mod quic_go;
mod requests;
mod responses;
mod support;
mod uni_streams;
