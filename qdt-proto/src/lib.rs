//! The QDT wire format, free of I/O: handshake, datagrams, inner packets, HTTP/3 edge.

pub mod datagram;
pub mod handshake;
pub mod http3;
pub mod packet;
