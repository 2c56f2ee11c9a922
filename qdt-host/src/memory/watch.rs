//! The watch of a host in memory: reports changes that a test makes, without periodic reports.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Inner, MemoryHost};
use crate::watch::{Changes, Watch};

/// Reports each [`MemoryHost::change`] and [`MemoryHost::announce`]; pending ones are merged into
/// one report.
#[derive(Debug)]
pub struct MemoryWatch {
    changes: UnboundedReceiver<Changes>,
}

impl MemoryHost {
    /// Subscribes to changes of this host.
    #[must_use]
    pub fn watch(&self) -> MemoryWatch {
        let (watcher, changes) = unbounded_channel();
        self.lock().watchers.push(watcher);
        MemoryWatch { changes }
    }
}

impl Inner {
    /// Notifies all watches, and drops closed ones.
    pub(super) fn announce(&mut self, changes: Changes) {
        self.watchers
            .retain(|watcher| watcher.send(changes).is_ok());
    }
}

impl Watch for MemoryWatch {
    async fn changed(&mut self) -> Changes {
        let Some(mut changes) = self.changes.recv().await else {
            // The host was dropped: no more changes.
            return std::future::pending().await;
        };
        while let Ok(more) = self.changes.try_recv() {
            changes = changes.union(more);
        }
        changes
    }
}
