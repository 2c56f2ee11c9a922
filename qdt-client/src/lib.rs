//! The QDT client: the life-cycle of one tunnel.

pub mod config;
