//! What happens before there is a logger: the configuration is read, and made where there is none.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;

use qdt_host::{Host, Network};
use qdt_program::{Loaded, ReadError, Token};
use qdt_transport::{CertificateError, ServerTls};
use tracing::{info, warn};

use crate::config::{Credentials, ServerConfig};
use crate::first_start::{self, CertificateFiles, FirstStart, FirstStartError, FolderLock};

/// A configuration whose certificate exists, and what had to be made for it.
#[derive(Debug)]
pub struct Prepared {
    /// The configuration, and what to say about it once there is a logger.
    pub loaded: Loaded<ServerConfig>,
    /// What a first start made; `None` where server.yaml existed.
    pub first_start: Option<FirstStart>,
    /// Whether certificate and key were made for a server.yaml that existed.
    pub made_certificate: bool,
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The file cannot be used.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is missing cannot be made.
    #[error(transparent)]
    FirstStart(#[from] FirstStartError),
}

impl PrepareError {
    /// The log message that goes with it: `config error`, or `logger error` for the log level.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Read(error) => error.message(),
            Self::FirstStart(_) => "config error",
        }
    }
}

/// Reads the configuration at `path`, on `host` with `cpus` CPUs; makes it, or only its
/// certificate, where that is missing.
///
/// # Errors
/// [`PrepareError`]; no file that existed has changed.
pub async fn prepare<H: Host>(
    host: &H,
    path: &Path,
    cpus: usize,
) -> Result<Prepared, PrepareError> {
    // A host without a default route is reached at its loopback address only.
    let source = host.network().default_route_source().await.ok().flatten();
    let addresses: Vec<IpAddr> = source.into_iter().collect();
    let mut loaded = ServerConfig::load(path, cpus);
    let mut lock = None;
    let is_complete = |files: &Credentials| files.tls_cert.exists() && files.tls_key.exists();
    // Where nothing is to be made no other start is waited for; elsewhere one may have made it.
    if !matches!(&loaded, Ok(loaded) if is_complete(&loaded.config.credentials)) {
        lock = Some(FolderLock::of(path).await?);
        loaded = ServerConfig::load(path, cpus);
    }
    match loaded {
        Ok(loaded) => {
            let files = CertificateFiles {
                certificate: loaded.config.credentials.tls_cert.clone(),
                key: loaded.config.credentials.tls_key.clone(),
            };
            let _keys = match &lock {
                Some(lock) if !lock.covers(&files.key) => Some(FolderLock::of(&files.key).await?),
                _ => None,
            };
            first_start::refuse_second_certificate(path, &files)?;
            let made_certificate = first_start::ensure_certificate(&files, &addresses)?;
            first_start::forget_cut_short(path);
            Ok(Prepared {
                loaded,
                first_start: None,
                made_certificate,
            })
        }
        Err(ReadError::NotFound(_)) => {
            let made = first_start::first_start(path, cpus, &addresses, pin_of)?;
            let loaded = ServerConfig::load(path, cpus)?;
            Ok(Prepared {
                loaded,
                first_start: Some(made),
                made_certificate: false,
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn pin_of(files: &CertificateFiles) -> Result<String, CertificateError> {
    ServerTls::load(&files.certificate, &files.key).map(|tls| tls.pin().to_owned())
}

/// Warns where the client.yaml that a first start made beside the configuration at `path` does not
/// go with `token` and `pin` any more.
pub fn warn_if_client_config_is_stale(path: &Path, token: &Token, pin: &str) {
    if let Some(client) = first_start::stale_client_config(path, token, pin) {
        let err = "its token or pin is not the server's: a client with it is refused; put the \
                   server's in, or remove the file";
        warn!(file = %client.display(), err, "client.yaml is stale");
    }
}

/// Tells, once in the life of a server, how to use what the first start made.
pub fn announce(path: &Path, made: &FirstStart) {
    info!(config = %path.display(), "first start: configuration created");
    let Some(client) = &made.client_config else {
        let client = first_start::client_config_path(path);
        let file = client.display();
        if first_start::is_made_here(&client) {
            let err = "it was made for another server.yaml, and a client with it is refused: put \
                       this server's token and pin in, or remove both files and start again";
            warn!(%file, err, "client.yaml is stale");
        } else {
            info!(%file, "client.yaml existed and was kept: it is not for this server");
        }
        return;
    };
    let client = client.display();
    // On stderr: stdout is for log lines only. Where stderr is closed nobody reads it.
    let _ = writeln!(
        io::stderr(),
        "This server has just been set up. To connect a client, copy\n    {client}\n\
         to it (it holds the token: keep it secret) and run there, as root:\n    \
         qdt-client -config client.yaml\n\
         If clients reach this server at another address, change `server:` in that file."
    );
}
