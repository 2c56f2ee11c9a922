//! Replacement and restoration of /etc/resolv.conf.
//!
//! The file is written in place, because a rename would break a bind mount or a symbolic link. The
//! original content is first written to a backup and synced. The first line of our content names
//! the tunnel that wrote it. Invariants:
//!
//! * Only a file that is still ours is restored, or one that a crash truncated during a write (it
//!   is missing, or a prefix of what was to be written). Content that another program wrote stays.
//! * While the tunnel is up, content that another program wrote becomes the new backup, so a
//!   restore yields the host's latest content.
//! * The backup exists exactly while there is something to restore: write access is checked before
//!   the backup is made.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::dns::{DnsError, DnsPlan};

/// The start of our first line; the device's name and a semicolon follow.
const MARK: &str = "# written by qdt-client for the tunnel ";
/// The start of a backup of an existing file; the file's content follows.
const PRESENT: &[u8] = b"qdt backup of resolv.conf, version 1: a file\n";
/// The backup of a missing file.
const ABSENT: &[u8] = b"qdt backup of resolv.conf, version 1: no file\n";

/// The file and its backup.
pub(super) struct ResolvConf<'a> {
    pub(super) path: &'a Path,
    pub(super) backup: &'a Path,
}

/// The content of the file before the tunnel; `None` for a missing file.
type Original = Option<Vec<u8>>;

impl ResolvConf<'_> {
    /// Writes the servers of `plan` to the file. `alive` tells whether another tunnel's device
    /// exists.
    pub(super) fn install(
        &self,
        plan: &DnsPlan,
        alive: impl Fn(&str) -> bool,
    ) -> Result<(), DnsError> {
        self.take(plan, alive, is_truncated)
    }

    /// Writes the servers of `plan` to the file again, after this run had written them. No crash
    /// can have truncated the file since then, so its content is another program's; only a missing
    /// or empty file is one that another program is about to write.
    pub(super) fn rewrite(
        &self,
        plan: &DnsPlan,
        alive: impl Fn(&str) -> bool,
    ) -> Result<(), DnsError> {
        self.take(plan, alive, |current, _| {
            current.is_none_or(<[u8]>::is_empty)
        })
    }

    fn take(
        &self,
        plan: &DnsPlan,
        alive: impl Fn(&str) -> bool,
        is_unfinished: impl Fn(Option<&[u8]>, &Original) -> bool,
    ) -> Result<(), DnsError> {
        let current = self.current()?;
        let owner = current.as_deref().and_then(owner);
        if let Some(other) = owner.filter(|owner| *owner != plan.tun && alive(owner)) {
            return Err(DnsError::Held {
                path: self.path.to_owned(),
                tun: other.to_owned(),
            });
        }
        let has_original = match self.saved()? {
            // Still ours, or truncated: the backup holds the original.
            Some(original) => owner.is_some() || is_unfinished(current.as_deref(), &original),
            None => false,
        };
        self.check_writable()?;
        if !has_original {
            // The original of our file is lost without its backup.
            let original = if owner.is_some() {
                Some(Vec::new())
            } else {
                current
            };
            self.save(&original)?;
        }
        let written = self.write(self.content(plan).as_bytes(), "write");
        if written.is_err() {
            // Return the first error; the next start restores what this one cannot.
            let _ = self.restore(|device| device == plan.tun);
        }
        written
    }

    /// Returns whether the file has the content for `plan`.
    pub(super) fn is_installed(&self, plan: &DnsPlan) -> Result<bool, DnsError> {
        Ok(self.current()?.as_deref() == Some(self.content(plan).as_bytes()))
    }

    /// Reads the file; `None` for a missing one.
    pub(super) fn current(&self) -> Result<Original, DnsError> {
        read(self.path, "read")
    }

    /// Returns the host's own content of the file, also while a tunnel has changed it.
    pub(super) fn without_tunnel(&self) -> Result<Original, DnsError> {
        let current = self.current()?;
        if let Some(original) = self.saved()?
            && (current.as_deref().and_then(owner).is_some()
                || is_truncated(current.as_deref(), &original))
        {
            return Ok(original);
        }
        Ok(current.filter(|content| owner(content).is_none()))
    }

    /// Restores the file where it is ours and `left` accepts its device.
    pub(super) fn restore(&self, left: impl Fn(&str) -> bool) -> Result<(), DnsError> {
        let Some(original) = self.saved()? else {
            return Ok(());
        };
        let current = self.current()?;
        match current.as_deref().and_then(owner) {
            Some(device) if !left(device) => return Ok(()),
            Some(_) => self.write_original(&original)?,
            // Never changed, or restored already.
            None if current == original => {}
            None if is_truncated(current.as_deref(), &original) => {
                self.write_original(&original)?
            }
            None => {}
        }
        fs::remove_file(self.backup).map_err(failed("remove the backup", self.backup))
    }

    fn write_original(&self, original: &Original) -> Result<(), DnsError> {
        let Some(content) = original else {
            // Remove the target of a symbolic link, not the link.
            return match fs::canonicalize(self.path) {
                Ok(file) => fs::remove_file(file).map_err(failed("remove", self.path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(failed("remove", self.path)(error)),
            };
        };
        self.write(content, "give back")
    }

    fn content(&self, plan: &DnsPlan) -> String {
        let backup = self.backup.display();
        let mut content = format!(
            "{MARK}{}; what stood here before is in {backup}\n",
            plan.tun
        );
        for server in &plan.servers {
            content.push_str(&format!("nameserver {server}\n"));
        }
        content
    }

    /// Checks write access without a change. A missing file passes: creating it is the check.
    fn check_writable(&self) -> Result<(), DnsError> {
        match OpenOptions::new().write(true).open(self.path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(DnsError::NotWritable {
                path: self.path.to_owned(),
                source,
            }),
        }
    }

    /// Reads the backup; `None` for a missing one and for one that we did not write.
    fn saved(&self) -> Result<Option<Original>, DnsError> {
        let Some(backup) = read(self.backup, "read the backup")? else {
            return Ok(None);
        };
        if backup == ABSENT {
            return Ok(Some(None));
        }
        Ok(backup
            .strip_prefix(PRESENT)
            .map(|content| Some(content.to_vec())))
    }

    /// Writes the backup to a temporary file and renames that once it is synced.
    fn save(&self, original: &Original) -> Result<(), DnsError> {
        let mut name = self.backup.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let (head, content) = match original {
            Some(content) => (PRESENT, content.as_slice()),
            None => (ABSENT, &[][..]),
        };
        let write = || {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(head)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&new, self.backup)?;
            // The rename is durable once the directory is synced.
            let directory = self
                .backup
                .parent()
                .filter(|path| !path.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| {
            // Do not leave half a backup.
            let _ = fs::remove_file(&new);
            failed("write the backup", self.backup)(error)
        })
    }

    fn write(&self, content: &[u8], step: &'static str) -> Result<(), DnsError> {
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).truncate(true).mode(0o644);
            // O_CREAT fails on another owner's file in a world-writable directory
            // (`fs.protected_regular`, proc_sys_fs(5)), so open an existing file without it.
            let opened = match options.open(self.path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    options.create(true).open(self.path)
                }
                opened => opened,
            };
            let mut file = opened?;
            file.write_all(content)?;
            file.sync_all()
        };
        write().map_err(failed(step, self.path))
    }
}

/// Returns the device whose tunnel wrote this content; `None` for content that is not ours.
fn owner(content: &[u8]) -> Option<&str> {
    let rest = content.strip_prefix(MARK.as_bytes())?;
    let end = rest.iter().position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&rest[..end]).ok()?;
    crate::check_interface_name(name).ok().map(|()| name)
}

/// Returns whether a crash during a write explains `current`: it is missing, or a prefix of our
/// content or of the original.
fn is_truncated(current: Option<&[u8]>, original: &Original) -> bool {
    let Some(current) = current else { return true };
    let ours = MARK.as_bytes().starts_with(current)
        || (current.starts_with(MARK.as_bytes()) && !current.contains(&b'\n'));
    ours || original
        .as_ref()
        .is_some_and(|original| original.starts_with(current))
}

fn read(path: &Path, step: &'static str) -> Result<Original, DnsError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(step, path)(error)),
    }
}

fn failed(step: &'static str, path: &Path) -> impl Fn(io::Error) -> DnsError {
    let path = path.to_owned();
    move |source| DnsError::File {
        step,
        path: path.clone(),
        source,
    }
}
