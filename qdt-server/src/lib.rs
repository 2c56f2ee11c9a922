//! The QDT server: sessions, admission, limits, addresses, metrics.

pub mod config;
