//! The files that a server creates when it is started for the first time: server.yaml with a random
//! token, certificate and key, and a matching client.yaml.
//!
//! Invariants: no existing file is overwritten; a file is complete and on disk before it has its
//! name; secrets have mode 0600 from the start.
//!
//! The next start continues one that was interrupted between any two writes. To that end two files
//! are staged under a hidden name, `.FILE.first-start`, until the files that depend on them exist:
//! the key until there is a certificate for it, and server.yaml until there is a client.yaml with
//! its token. A [`FolderLock`] separates concurrent starts.

mod atomic_file;
mod certificate;
mod client_config;
mod lock;
mod stale;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use qdt_program::{Loaded, Token, read_config_yaml};
use qdt_transport::{CertificateError, ServerTls};
use zeroize::Zeroizing;

use crate::config::{ServerFile, first_start_yaml};

pub use atomic_file::create;
pub use certificate::{CertificateFiles, SelfSigned, SelfSignedError, self_signed};
pub use client_config::ClientConfig;
pub use lock::FolderLock;
pub use stale::{client_config_path, is_generated, stale_client_config};

/// The suffix of a staged file.
const STAGED: &str = "first-start";

/// The UDP port of a new server.
const DEFAULT_PORT: u16 = 443;

/// Why a missing file could not be created. Existing files are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// Only one of certificate and key exists. A new pair would lock out every client that pinned
    /// the certificate.
    #[error(
        "tls_key: {missing} does not exist, but {present} does; restore the missing file, or move the \
         other one away to have both made anew"
    )]
    IncompletePair {
        /// The missing file.
        missing: PathBuf,
        /// The existing file.
        present: PathBuf,
    },
    /// A file could not be written.
    #[error("{path}: cannot be created: {source}; check that the folder exists and can be written")]
    Create {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A relative path exists only next to the configuration, not in the working directory.
    #[error(
        "tls_cert {path}: is not in the working directory, but there is {found}; start in that folder, or write \
         whole paths into tls_cert and tls_key (a new certificate would lock out every client that pins this one)",
        path = path.display(),
        found = found.display()
    )]
    WrongDirectory {
        /// The path in the configuration.
        path: PathBuf,
        /// The file next to the configuration.
        found: PathBuf,
    },
    /// Another start holds the lock.
    #[error("{folder}: another start is making files there; start again when it has ended", folder = .0.display())]
    Locked(PathBuf),
    /// The existing certificate is unusable.
    #[error(transparent)]
    Pin(#[from] CertificateError),
    /// No token could be generated.
    #[error("the system gives no random bytes for a token")]
    NoRandomness,
    /// No certificate could be generated.
    #[error("self-signed certificate: {0}")]
    Certificate(#[from] SelfSignedError),
}

/// What a first start created apart from server.yaml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstStart {
    /// The matching client.yaml; `None` if an existing one does not match.
    pub client_config: Option<PathBuf>,
}

/// Creates a missing server.yaml at `path`, certificate and key unless both exist, and client.yaml
/// unless it exists. Clients reach the server at `addresses`, the best first; defaults depend on
/// `cpus`; `pin_of` returns the pin of a certificate.
///
/// # Errors
/// [`FirstStartError`] if a file cannot be created; then there is no server.yaml.
pub fn first_start(
    path: &Path,
    cpus: usize,
    addresses: &[IpAddr],
    pin_of: impl FnOnce(&CertificateFiles) -> Result<String, CertificateError>,
) -> Result<FirstStart, FirstStartError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let files = CertificateFiles {
        certificate: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    ensure_certificate(&files, addresses)?;
    let pin = pin_of(&files)?;
    // The staged server.yaml keeps the token for a start that continues this one.
    let staged = atomic_file::hidden_path(path, STAGED);
    let token = match staged_token(&staged) {
        Some(token) => token,
        None => random_token()?,
    };
    let server_yaml = Zeroizing::new(first_start_yaml(
        folder,
        &Token::new(token.as_bytes()),
        cpus,
    ));
    atomic_file::replace(&staged, server_yaml.as_bytes(), 0o600).map_err(cannot_create(path))?;
    let client_yaml = client_config_path(path);
    let client = ClientConfig {
        address: addresses.first().copied(),
        port: DEFAULT_PORT,
        token: &token,
        pin: &pin,
    };
    let matches = write_client_config(&client_yaml, &client)?
        || stale::matches(&client_yaml, &Token::new(token.as_bytes()), &pin);
    atomic_file::publish(&staged, path).map_err(cannot_create(path))?;
    Ok(FirstStart {
        client_config: matches.then_some(client_yaml),
    })
}

/// Checks that a relative path of the certificate is not missing only because the working directory
/// is not that of the configuration at `path`.
///
/// # Errors
/// [`FirstStartError::WrongDirectory`].
pub fn refuse_second_certificate(
    path: &Path,
    files: &CertificateFiles,
) -> Result<(), FirstStartError> {
    let found = path
        .parent()
        .unwrap_or(Path::new(""))
        .join(&files.certificate);
    if !exists(&files.certificate)? && !exists(&files.key)? && found.exists() {
        return Err(FirstStartError::WrongDirectory {
            path: files.certificate.clone(),
            found,
        });
    }
    Ok(())
}

/// Removes the staged server.yaml of an interrupted first start, once there is another at `path`.
pub fn remove_staged_config(path: &Path) {
    // A folder that cannot be written has none.
    let _ = std::fs::remove_file(atomic_file::hidden_path(path, STAGED));
}

/// Returns the token of an interrupted first start.
fn staged_token(staged: &Path) -> Option<Zeroizing<String>> {
    let Loaded { config, .. } = read_config_yaml::<ServerFile>(staged).ok()?;
    config.token.check().ok()?;
    String::from_utf8(config.token.as_bytes().to_vec())
        .ok()
        .map(Zeroizing::new)
}

/// Returns 32 random bytes in unpadded standard base64, as in Go.
fn random_token() -> Result<Zeroizing<String>, FirstStartError> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| FirstStartError::NoRandomness)?;
    Ok(Zeroizing::new(STANDARD_NO_PAD.encode(bytes.as_slice())))
}

/// Creates certificate and key if both are missing; returns whether it did.
///
/// # Errors
/// [`FirstStartError`] if just one of them is missing or a file cannot be written.
pub fn ensure_certificate(
    files: &CertificateFiles,
    addresses: &[IpAddr],
) -> Result<bool, FirstStartError> {
    let incomplete = |missing: &Path, present: &Path| FirstStartError::IncompletePair {
        missing: missing.to_owned(),
        present: present.to_owned(),
    };
    let staged = atomic_file::hidden_path(&files.key, STAGED);
    match (exists(&files.certificate)?, exists(&files.key)?) {
        (true, true) => {
            // A left-over staged key; a folder that cannot be written has none.
            let _ = std::fs::remove_file(&staged);
            return Ok(false);
        }
        (false, true) => return Err(incomplete(&files.certificate, &files.key)),
        // An interrupted start created the certificate and staged its key.
        (true, false) if ServerTls::load(&files.certificate, &staged).is_ok() => {}
        (true, false) => return Err(incomplete(&files.key, &files.certificate)),
        (false, false) => {
            let pair = self_signed(addresses)?;
            atomic_file::replace(&staged, pair.key_pem.as_bytes(), 0o600)
                .map_err(cannot_create(&files.key))?;
            write_new(&files.certificate, pair.certificate_pem.as_bytes(), 0o644)?;
        }
    }
    atomic_file::publish(&staged, &files.key).map_err(cannot_create(&files.key))?;
    Ok(true)
}

/// Writes client.yaml unless it exists; returns whether it did.
///
/// # Errors
/// [`FirstStartError::Create`] if it cannot be written.
fn write_client_config(path: &Path, config: &ClientConfig<'_>) -> Result<bool, FirstStartError> {
    if exists(path)? {
        return Ok(false);
    }
    write_new(path, config.to_yaml().as_bytes(), 0o600)?;
    Ok(true)
}

/// Writes a new file.
///
/// # Errors
/// [`FirstStartError::Create`] if it exists or cannot be written.
fn write_new(path: &Path, contents: &[u8], mode: u32) -> Result<(), FirstStartError> {
    create(path, contents, mode).map_err(cannot_create(path))
}

fn cannot_create(path: &Path) -> impl FnOnce(io::Error) -> FirstStartError {
    let path = path.to_owned();
    move |source| FirstStartError::Create { path, source }
}

/// Returns whether `path` exists; an unreadable folder is an error.
fn exists(path: &Path) -> Result<bool, FirstStartError> {
    path.try_exists().map_err(cannot_create(path))
}
