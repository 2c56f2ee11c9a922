//! A link that only remembers what it was asked, for tests: no socket, no thread.
//!
//! What always holds here: commands come out in the order they went in.

use qdt_transport::ClientCommand;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Link, LinkGone};

/// The recording end, given to the driver.
#[derive(Debug)]
pub struct MemoryLink {
    commands: UnboundedSender<ClientCommand>,
}

impl MemoryLink {
    /// A link and the place where its commands come out.
    #[must_use]
    pub fn new() -> (Self, UnboundedReceiver<ClientCommand>) {
        let (commands, seen) = unbounded_channel();
        (Self { commands }, seen)
    }
}

impl Link for MemoryLink {
    fn send(&mut self, command: ClientCommand) -> Result<(), LinkGone> {
        self.commands.send(command).map_err(|_| LinkGone)
    }
}
