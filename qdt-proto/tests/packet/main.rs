//! Inner packets through the public interface of `qdt_proto::packet`: views, clamp, ICMP, splitting
//! and joining.
//!
//! What a packet ought to look like comes from `build` and `reference`, which share no code with
//! the crate.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod build;
mod coalescer;
mod ecn;
mod icmp;
mod inner;
mod mss;
mod properties;
mod reference;
mod segments;
mod vector;
