//! The control side of the QDT server: admission, inner addresses, configuration, metrics, life
//! cycle.
//!
//! The packets move in `qdt-transport`'s workers, which call this crate only to decide a
//! `POST /connect` ([`admission`]) and to report the end of a session. So everything here may lock
//! and allocate, but must not block a worker.

pub mod address;
pub mod admission;
pub mod bootstrap;
pub mod config;
pub mod control;
pub mod first_start;
pub mod metrics;
pub mod serve;
