//! The watch of a host in memory: reports what a test does to the host, and nothing by the clock.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Inner, MemoryHost};
use crate::watch::{Changes, Watch};

/// Reports each [`MemoryHost::change`] and [`MemoryHost::announce`] after it was made; several that
/// wait are one report.
#[derive(Debug)]
pub struct MemoryWatch {
    changes: UnboundedReceiver<Changes>,
}

impl MemoryHost {
    /// Watches this host from now on.
    #[must_use]
    pub fn watch(&self) -> MemoryWatch {
        let (watcher, changes) = unbounded_channel();
        self.lock().watchers.push(watcher);
        MemoryWatch { changes }
    }
}

impl Inner {
    /// Tells those who still watch.
    pub(super) fn announce(&mut self, changes: Changes) {
        self.watchers
            .retain(|watcher| watcher.send(changes).is_ok());
    }
}

impl Watch for MemoryWatch {
    async fn changed(&mut self) -> Changes {
        let Some(mut changes) = self.changes.recv().await else {
            // The host is gone: nothing changes any more.
            return std::future::pending().await;
        };
        while let Ok(more) = self.changes.try_recv() {
            changes = changes.union(more);
        }
        changes
    }
}
