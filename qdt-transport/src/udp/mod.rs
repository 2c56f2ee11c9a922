//! The UDP side of a worker: one socket with GSO and GRO, and the steering that brings every QUIC packet of
//! a connection to the same worker.

mod port;
mod segmentation;
mod steering;

pub use port::BindError;
pub(crate) use port::{
    RECEIVE_BATCH, Received, SendError, UdpPort, bind_client, bind_server, canonical,
};
pub(crate) use steering::{SteeredConnectionIds, Steering};
