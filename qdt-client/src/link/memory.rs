//! A link that only remembers what it was asked, for tests: no socket, no thread.
//!
//! What always holds here: commands come out in the order they went in.

use std::sync::mpsc::{Receiver, Sender, channel};

use qdt_transport::ClientCommand;

use super::{Link, LinkGone};

/// The recording end, given to the driver.
#[derive(Debug)]
pub struct MemoryLink {
    commands: Sender<ClientCommand>,
}

impl MemoryLink {
    /// A link and the place where its commands come out.
    #[must_use]
    pub fn new() -> (Self, Receiver<ClientCommand>) {
        let (commands, seen) = channel();
        (Self { commands }, seen)
    }
}

impl Link for MemoryLink {
    fn send(&mut self, command: ClientCommand) -> Result<(), LinkGone> {
        self.commands.send(command).map_err(|_| LinkGone)
    }
}
