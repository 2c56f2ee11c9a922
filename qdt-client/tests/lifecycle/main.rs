//! The life-cycle of one tunnel, as scripts through its public interface: events and time in, the
//! exact actions out. One file per chapter of that life; `script.rs` holds the clock.

mod answer_checks;
mod first_connect;
mod packet_size;
mod reconnect;
mod script;
mod walks;
