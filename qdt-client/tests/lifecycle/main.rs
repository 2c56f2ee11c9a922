//! Scripts for the life-cycle of one tunnel: events and time in, the exact actions out. `script.rs`
//! holds the clock.

mod first_connect;
mod packet_size;
mod plan;
mod reconnect;
mod script;
mod walks;
