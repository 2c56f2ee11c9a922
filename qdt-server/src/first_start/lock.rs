//! One start at a time makes files in a folder.
//!
//! Two that begin together (replicas on one volume, a unit and a start by hand) would each write a
//! part of what belongs together. A lock ends with its process, however that ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::FirstStartError;
use super::new_file::folder_of;

/// How long another start may take.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct FolderLock {
    /// `None` where the file system has no locks, or there is no folder.
    folder: Option<File>,
}

impl FolderLock {
    /// Locks the folder of `file`, when no other start has it any more.
    ///
    /// # Errors
    /// [`FirstStartError::Busy`] where another start keeps it.
    pub async fn of(file: &Path) -> Result<Self, FirstStartError> {
        let folder = folder_of(file);
        let Ok(opened) = File::open(folder) else {
            return Ok(Self { folder: None });
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        folder: Some(opened),
                    });
                }
                Err(Errno::WOULDBLOCK) if Instant::now() < until => sleep(RETRY).await,
                Err(Errno::WOULDBLOCK) => {
                    return Err(FirstStartError::Busy(folder.to_owned()));
                }
                Err(Errno::INTR) => {}
                Err(_) => return Ok(Self { folder: None }),
            }
        }
    }

    /// Whether the folder of `file` is the locked one.
    #[must_use]
    pub fn covers(&self, file: &Path) -> bool {
        let same = |locked: &File| -> io::Result<bool> {
            let (locked, other) = (locked.metadata()?, folder_of(file).metadata()?);
            Ok((locked.dev(), locked.ino()) == (other.dev(), other.ino()))
        };
        // What cannot be told is not locked a second time: that would wait for this lock.
        self.folder
            .as_ref()
            .is_none_or(|folder| same(folder).unwrap_or(true))
    }
}
