//! Handshake and datagrams through their public interface: recorded vectors of the Go programs,
//! models, round trips and independent implementations.

mod assignment;
mod datagram_vectors;
mod handshake_vectors;
mod messages;
mod opening;
mod reassembly;
mod replay;
mod request_reading;
mod sealing;
mod support;
