//! The UDP side of a worker: one socket with GSO and GRO, and the steering that brings all packets
//! of a QUIC connection to one worker.

mod datagrams;
mod port;
mod segmentation;
mod steering;

pub(crate) use datagrams::{DatagramPort, Received, SendError};
pub use port::BindError;
pub(crate) use port::{
    RECEIVE_BUFFERS, UdpPort, bind_client, bind_server, canonical, is_too_large,
};
pub(crate) use steering::{SteeredConnectionIds, Steering};
