//! The QDT server: who gets a session and which address, what is counted and shown, how it starts,
//! reloads and ends.
//!
//! This crate is the control side. The packets themselves move in `qdt-transport`'s workers, which
//! come here only to ask whether a `POST /connect` may become a session ([`admission`]) and to tell
//! that one has ended. Everything here may therefore lock and allocate; nothing here may make a
//! worker wait.

pub mod address;
pub mod admission;
pub mod config;

pub mod control;
pub mod first_start;
pub mod metrics;
pub mod prepare;
pub mod serve;
