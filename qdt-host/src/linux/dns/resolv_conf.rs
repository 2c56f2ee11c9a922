//! /etc/resolv.conf, changed for a tunnel and given back.
//!
//! The file is written in place, because it may be a bind mount or a link that a rename would
//! break; what stood in it is first written to a backup beside it, completely and synced. Our first
//! line says whose the file is. The rules that follow from it:
//!
//! * Given back is only a file that is still ours, or one that a crash cut short while it was being
//!   written (nothing of it, or a part of what the backup holds). What somebody else wrote
//!   meanwhile stays.
//! * While the tunnel is up, what somebody else wrote becomes the new backup and the file ours
//!   again, so that the newest content of the host's own is given back and not an old one.
//! * The backup exists exactly as long as there is something to give back: a file that may not be
//!   written is found out before the backup is made.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::dns::{DnsError, DnsPlan};

/// How our first line starts; the device's name and a semicolon follow.
const MARK: &str = "# written by qdt-client for the tunnel ";
/// How a backup starts whose file existed; the file's bytes follow.
const PRESENT: &[u8] = b"qdt backup of resolv.conf, version 1: a file\n";
/// A backup whose file did not exist.
const ABSENT: &[u8] = b"qdt backup of resolv.conf, version 1: no file\n";

/// The file and its backup.
pub(super) struct ResolvConf<'a> {
    pub(super) path: &'a Path,
    pub(super) backup: &'a Path,
}

/// What stood in the file before; `None` when there was no file.
type Original = Option<Vec<u8>>;

impl ResolvConf<'_> {
    /// Puts the servers of `plan` into the file. `alive` tells whether the device of another tunnel
    /// exists.
    pub(super) fn install(
        &self,
        plan: &DnsPlan,
        alive: impl Fn(&str) -> bool,
    ) -> Result<(), DnsError> {
        self.take(plan, alive, is_cut_short)
    }

    /// Puts the servers of `plan` into the file again after this run had put them there. No crash
    /// cut anything short since then, so whatever somebody wrote is what stands there now; only a
    /// file that is gone or empty is one that somebody is about to write.
    pub(super) fn put_back(
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
        let kept = match self.saved()? {
            // Still ours, or cut short: what was there before is in the backup.
            Some(original) => owner.is_some() || is_unfinished(current.as_deref(), &original),
            None => false,
        };
        self.check_writable()?;
        if !kept {
            // A file of ours without a backup has lost what was there before: nothing but ours.
            let original = if owner.is_some() {
                Some(Vec::new())
            } else {
                current
            };
            self.save(&original)?;
        }
        let written = self.write(self.content(plan).as_bytes(), "write");
        if written.is_err() {
            // The first error is the one to tell; what cannot be given back now is given back at
            // the next start.
            let _ = self.restore(|device| device == plan.tun);
        }
        written
    }

    /// Whether the file is as `plan` wants it.
    pub(super) fn is_installed(&self, plan: &DnsPlan) -> Result<bool, DnsError> {
        Ok(self.current()?.as_deref() == Some(self.content(plan).as_bytes()))
    }

    /// What stands in the file now; `None` when there is none.
    pub(super) fn current(&self) -> Result<Original, DnsError> {
        read(self.path, "read")
    }

    /// What the host itself has in the file, also while a tunnel has changed it.
    pub(super) fn without_tunnel(&self) -> Result<Original, DnsError> {
        let current = self.current()?;
        if let Some(original) = self.saved()?
            && (current.as_deref().and_then(owner).is_some()
                || is_cut_short(current.as_deref(), &original))
        {
            return Ok(original);
        }
        Ok(current.filter(|content| owner(content).is_none()))
    }

    /// Gives the file back when it is one of ours for a device that `left` holds for.
    pub(super) fn restore(&self, left: impl Fn(&str) -> bool) -> Result<(), DnsError> {
        let Some(original) = self.saved()? else {
            return Ok(());
        };
        let current = self.current()?;
        match current.as_deref().and_then(owner) {
            Some(device) if !left(device) => return Ok(()),
            Some(_) => self.give_back(&original)?,
            // Never changed, or given back already.
            None if current == original => {}
            None if is_cut_short(current.as_deref(), &original) => self.give_back(&original)?,
            None => {}
        }
        fs::remove_file(self.backup).map_err(failed("remove the backup", self.backup))
    }

    fn give_back(&self, original: &Original) -> Result<(), DnsError> {
        let Some(content) = original else {
            // The file that a dangling link names, not the link.
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

    /// Finds out whether the file may be written, and changes nothing. One that is not there is
    /// found out when it is made.
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

    /// What the backup holds; `None` when there is none, or none that we wrote.
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

    /// Writes the backup beside its place and moves it there once it is on the disk.
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
            // The new name is on the disk when its directory is.
            let directory = self
                .backup
                .parent()
                .filter(|path| !path.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        write().map_err(|error| {
            // Half a backup is none; one that was never made is not there to be removed.
            let _ = fs::remove_file(&new);
            failed("write the backup", self.backup)(error)
        })
    }

    fn write(&self, content: &[u8], step: &'static str) -> Result<(), DnsError> {
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).truncate(true).mode(0o644);
            // Asking for creation where none is needed fails on a file of another owner in a
            // directory that everybody may write to (`fs.protected_regular`, proc_sys_fs(5)).
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

/// The device whose tunnel wrote this file; `None` when it is not ours.
fn owner(content: &[u8]) -> Option<&str> {
    let rest = content.strip_prefix(MARK.as_bytes())?;
    let end = rest.iter().position(|byte| *byte == b';')?;
    let name = std::str::from_utf8(&rest[..end]).ok()?;
    crate::check_interface_name(name).ok().map(|()| name)
}

/// Whether a crash while writing explains `current`: it is missing or a beginning of what was to be
/// written, our lines or the original ones.
fn is_cut_short(current: Option<&[u8]>, original: &Original) -> bool {
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
