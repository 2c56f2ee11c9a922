//! The HTTP/3 edge, through its public interface: bytes in, events or errors out.
//!
//! One file per machine; `recordings` holds it against what quic-go and aioquic wrote, `properties`
//! against generated input. What the files share stands in `support`.

mod datagrams;
mod properties;
mod qpack;
mod recordings;
mod requests;
mod responses;
mod support;
mod uni_streams;
