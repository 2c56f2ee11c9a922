//! The lock that lets one start at a time create files in a folder.
//!
//! Two concurrent starts (replicas on one volume, a unit and a start by hand) would mix files.
//! The kernel releases the lock when its process ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::FirstStartError;
use super::atomic_file::folder_of;

/// How long to wait for another start.
const TIMEOUT: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(20);

/// Held until dropped.
#[derive(Debug)]
pub struct FolderLock {
    /// `None` without a folder, or on a file system without locks.
    folder: Option<File>,
}

impl FolderLock {
    /// Locks the folder of `file`, waiting for another start to end.
    ///
    /// # Errors
    /// [`FirstStartError::Locked`] if another start does not end in time.
    pub async fn of(file: &Path) -> Result<Self, FirstStartError> {
        let folder = folder_of(file);
        let Ok(opened) = File::open(folder) else {
            return Ok(Self { folder: None });
        };
        let until = Instant::now() + TIMEOUT;
        loop {
            match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        folder: Some(opened),
                    });
                }
                Err(Errno::WOULDBLOCK) if Instant::now() < until => sleep(RETRY).await,
                Err(Errno::WOULDBLOCK) => {
                    return Err(FirstStartError::Locked(folder.to_owned()));
                }
                Err(Errno::INTR) => {}
                Err(_) => return Ok(Self { folder: None }),
            }
        }
    }

    /// Returns whether the folder of `file` is the locked one.
    #[must_use]
    pub fn covers(&self, file: &Path) -> bool {
        let same = |locked: &File| -> io::Result<bool> {
            let (locked, other) = (locked.metadata()?, folder_of(file).metadata()?);
            Ok((locked.dev(), locked.ino()) == (other.dev(), other.ino()))
        };
        // In doubt it is: a second lock on the same folder would wait for this one.
        self.folder
            .as_ref()
            .is_none_or(|folder| same(folder).unwrap_or(true))
    }
}
