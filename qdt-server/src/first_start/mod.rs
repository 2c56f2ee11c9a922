//! What a server makes for itself when it is started for the first time.
//!
//! Without a server.yaml it writes one with a random token, a certificate with its key, and a
//! client.yaml that works with them. What always holds: no file that exists is ever written; a file
//! is complete and on disk before it has its name; secrets are 0600 from the moment they exist.
//!
//! A start that is cut short after any of its writes is continued by the next one. Two files are
//! therefore kept under a hidden name first, `.FILE.first-start`, and renamed when what depends on
//! them exists: the key until there is a certificate for it, and server.yaml with its token until
//! there is a client.yaml with the same. Two starts at a time are kept apart by a [`FolderLock`].

mod certificate;
mod client_config;
mod lock;
mod new_file;
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

pub use certificate::{CertificateFiles, SelfSigned, SelfSignedError, self_signed};
pub use client_config::ClientConfig;
pub use lock::FolderLock;
pub use new_file::create;
pub use stale::{client_config_path, is_made_here, stale_client_config};

/// The ending of a file's hidden name until what depends on it exists.
const STAGED: &str = "first-start";

/// The UDP port of a new server.
const DEFAULT_PORT: u16 = 443;

/// Why the first start could not make what is missing. Files that existed are as they were.
#[derive(Debug, thiserror::Error)]
pub enum FirstStartError {
    /// One of a pair is there: making the other would lock out every client that pinned it, or
    /// worse.
    #[error(
        "tls_key: {missing} does not exist, but {present} does; restore the missing file, or move the \
         other one away to have both made anew"
    )]
    HalfAPair {
        /// The file that is not there.
        missing: PathBuf,
        /// The file that is.
        present: PathBuf,
    },
    /// A file could not be written.
    #[error("{path}: cannot be created: {source}; check that the folder exists and can be written")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A relative path leads to nothing here and to a certificate beside the configuration.
    #[error(
        "tls_cert {path}: is not in the working directory, but there is {found}; start in that folder, or write \
         whole paths into tls_cert and tls_key (a new certificate would lock out every client that pins this one)",
        path = path.display(),
        found = found.display()
    )]
    Elsewhere {
        /// The file as the configuration names it.
        path: PathBuf,
        /// The file beside the configuration.
        found: PathBuf,
    },
    /// Another start is at it.
    #[error("{folder}: another start is making files there; start again when it has ended", folder = .0.display())]
    Busy(PathBuf),
    /// The certificate that exists cannot be used.
    #[error(transparent)]
    Pin(#[from] CertificateError),
    /// No token could be made.
    #[error("the system gives no random bytes for a token")]
    NoRandomness,
    /// No certificate could be made.
    #[error("self-signed certificate: {0}")]
    Certificate(#[from] SelfSignedError),
}

/// What a first start made beside server.yaml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstStart {
    /// The client.yaml that belongs to it; `None` if one existed that says something else.
    pub client_config: Option<PathBuf>,
}

/// Makes server.yaml at `path`, where there is none, and what belongs to it: certificate and key
/// unless both exist, and client.yaml unless it exists. `addresses` are those the server is reached
/// at, the best first; `cpus` decides defaults; `pin_of` gives the pin of a certificate.
///
/// # Errors
/// [`FirstStartError`] if something cannot be made; then there is no server.yaml.
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
    // Under its hidden name server.yaml keeps the token for a start that continues this one.
    let staged = new_file::beside(path, STAGED);
    let token = match staged_token(&staged) {
        Some(token) => token,
        None => random_token()?,
    };
    let server_yaml = Zeroizing::new(first_start_yaml(
        folder,
        &Token::new(token.as_bytes()),
        cpus,
    ));
    new_file::replace(&staged, server_yaml.as_bytes(), 0o600).map_err(cannot_create(path))?;
    let client_yaml = client_config_path(path);
    let client = ClientConfig {
        address: addresses.first().copied(),
        port: DEFAULT_PORT,
        token: &token,
        pin: &pin,
    };
    let belongs = write_client_config(&client_yaml, &client)?
        || stale::fits(&client_yaml, &Token::new(token.as_bytes()), &pin);
    new_file::publish(&staged, path).map_err(cannot_create(path))?;
    Ok(FirstStart {
        client_config: belongs.then_some(client_yaml),
    })
}

/// Refuses to make a certificate that the configuration at `path` has already, where a relative
/// path in it is looked up from another working directory.
///
/// # Errors
/// [`FirstStartError::Elsewhere`].
pub fn refuse_second_certificate(
    path: &Path,
    files: &CertificateFiles,
) -> Result<(), FirstStartError> {
    let found = path
        .parent()
        .unwrap_or(Path::new(""))
        .join(&files.certificate);
    if !exists(&files.certificate)? && !exists(&files.key)? && found.exists() {
        return Err(FirstStartError::Elsewhere {
            path: files.certificate.clone(),
            found,
        });
    }
    Ok(())
}

/// Removes what a first start that was cut short kept for the next one, where there is a
/// server.yaml at `path` now: another token has come since.
pub fn forget_cut_short(path: &Path) {
    // Where nothing can be written there is none.
    let _ = std::fs::remove_file(new_file::beside(path, STAGED));
}

/// The token of a first start that was cut short.
fn staged_token(staged: &Path) -> Option<Zeroizing<String>> {
    let Loaded { config, .. } = read_config_yaml::<ServerFile>(staged).ok()?;
    config.token.check().ok()?;
    String::from_utf8(config.token.as_bytes().to_vec())
        .ok()
        .map(Zeroizing::new)
}

/// 32 random bytes as unpadded standard base64, as the Go server makes its tokens.
fn random_token() -> Result<Zeroizing<String>, FirstStartError> {
    let mut bytes = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).map_err(|_| FirstStartError::NoRandomness)?;
    Ok(Zeroizing::new(STANDARD_NO_PAD.encode(bytes.as_slice())))
}

/// Makes certificate and key if both are missing; says whether it did.
///
/// # Errors
/// [`FirstStartError`] if just one of them is missing or a file cannot be written.
pub fn ensure_certificate(
    files: &CertificateFiles,
    addresses: &[IpAddr],
) -> Result<bool, FirstStartError> {
    let half = |missing: &Path, present: &Path| FirstStartError::HalfAPair {
        missing: missing.to_owned(),
        present: present.to_owned(),
    };
    let staged = new_file::beside(&files.key, STAGED);
    match (exists(&files.certificate)?, exists(&files.key)?) {
        (true, true) => {
            // A key that nobody needs any more; where nothing can be written there is none.
            let _ = std::fs::remove_file(&staged);
            return Ok(false);
        }
        (false, true) => return Err(half(&files.certificate, &files.key)),
        // The certificate of a start that was cut short: its key is there, under its other name.
        (true, false) if ServerTls::load(&files.certificate, &staged).is_ok() => {}
        (true, false) => return Err(half(&files.key, &files.certificate)),
        (false, false) => {
            let made = self_signed(addresses)?;
            new_file::replace(&staged, made.key_pem.as_bytes(), 0o600)
                .map_err(cannot_create(&files.key))?;
            write_new(&files.certificate, made.certificate_pem.as_bytes(), 0o644)?;
        }
    }
    new_file::publish(&staged, &files.key).map_err(cannot_create(&files.key))?;
    Ok(true)
}

/// Writes client.yaml unless there is one; says whether it did.
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

/// Writes a new file; one that exists is an error.
///
/// # Errors
/// [`FirstStartError::Create`] if it cannot be written, or exists.
fn write_new(path: &Path, contents: &[u8], mode: u32) -> Result<(), FirstStartError> {
    create(path, contents, mode).map_err(cannot_create(path))
}

fn cannot_create(path: &Path) -> impl FnOnce(io::Error) -> FirstStartError {
    let path = path.to_owned();
    move |source| FirstStartError::Create { path, source }
}

/// Whether anything has the name `path`; not being able to look is an error, not a no.
fn exists(path: &Path) -> Result<bool, FirstStartError> {
    path.try_exists().map_err(cannot_create(path))
}
