//! The lab itself: machines, the links between them, programs on them.

mod binaries;
mod config;
mod impair;
mod interfaces;
mod machine;
mod metrics;
mod offload;
mod process;
mod programs;
mod requirements;
mod topology;
mod wait;

pub use binaries::Binaries;
pub use config::{Config, Token};
pub use machine::Machine;
pub use metrics::Metrics;
pub use process::Process;
pub use programs::{Client, Server};
pub use requirements::{check_requirements, requirements};
pub use topology::Lab;
pub use wait::{at_full_length, stay_silent, wait_for, wait_until};
