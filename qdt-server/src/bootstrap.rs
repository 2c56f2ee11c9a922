//! The steps before there is a logger: the configuration is read, or created if missing.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;

use qdt_host::{Host, Network};
use qdt_program::{Loaded, ReadError, Token};
use qdt_transport::{CertificateError, ServerTls};
use tracing::{info, warn};

use crate::config::{Credentials, ServerConfig};
use crate::first_start::{self, CertificateFiles, FirstStart, FirstStartError, FolderLock};

/// A configuration whose certificate exists, and what was created for it.
#[derive(Debug)]
pub struct Bootstrap {
    /// The configuration, and its warnings for the logger.
    pub loaded: Loaded<ServerConfig>,
    /// What a first start created; `None` where server.yaml existed.
    pub first_start: Option<FirstStart>,
    /// Whether certificate and key were created for an existing server.yaml.
    pub created_certificate: bool,
}

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file is unusable.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A missing file cannot be created.
    #[error(transparent)]
    FirstStart(#[from] FirstStartError),
}

impl BootstrapError {
    /// Returns its log message: `logger error` for the log level, else `config error`.
    #[must_use]
    pub fn message(&self) -> &'static str {
        match self {
            Self::Read(error) => error.message(),
            Self::FirstStart(_) => "config error",
        }
    }
}

/// Reads the configuration at `path` for `host` with `cpus` CPUs, and creates what is missing: all
/// of it or only its certificate.
///
/// # Errors
/// [`BootstrapError`]; no existing file has changed.
pub async fn load_or_create<H: Host>(
    host: &H,
    path: &Path,
    cpus: usize,
) -> Result<Bootstrap, BootstrapError> {
    // Without a default route only the loopback address is known to reach this host.
    let source = host.network().default_route_source().await.ok().flatten();
    let addresses: Vec<IpAddr> = source.into_iter().collect();
    let mut loaded = ServerConfig::load(path, cpus);
    let mut lock = None;
    let is_complete = |files: &Credentials| files.tls_cert.exists() && files.tls_key.exists();
    // Only a start that creates files locks; then another may have created them meanwhile.
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
            let created_certificate = first_start::ensure_certificate(&files, &addresses)?;
            first_start::remove_staged_config(path);
            Ok(Bootstrap {
                loaded,
                first_start: None,
                created_certificate,
            })
        }
        Err(ReadError::NotFound(_)) => {
            let created = first_start::first_start(path, cpus, &addresses, pin_of)?;
            let loaded = ServerConfig::load(path, cpus)?;
            Ok(Bootstrap {
                loaded,
                first_start: Some(created),
                created_certificate: false,
            })
        }
        Err(error) => Err(error.into()),
    }
}

fn pin_of(files: &CertificateFiles) -> Result<String, CertificateError> {
    ServerTls::load(&files.certificate, &files.key).map(|tls| tls.pin().to_owned())
}

/// Warns if the client.yaml that a first start created next to `path` no longer matches `token`
/// and `pin`.
pub fn warn_if_client_config_is_stale(path: &Path, token: &Token, pin: &str) {
    if let Some(client) = first_start::stale_client_config(path, token, pin) {
        let err = "its token or pin is not the server's: a client with it is refused; put the \
                   server's in, or remove the file";
        warn!(file = %client.display(), err, "client.yaml is stale");
    }
}

/// Explains how to use what the first start created.
pub fn announce(path: &Path, created: &FirstStart) {
    info!(config = %path.display(), "first start: configuration created");
    let Some(client) = &created.client_config else {
        let client = first_start::client_config_path(path);
        let file = client.display();
        if first_start::is_generated(&client) {
            let err = "it was made for another server.yaml, and a client with it is refused: put \
                       this server's token and pin in, or remove both files and start again";
            warn!(%file, err, "client.yaml is stale");
        } else {
            info!(%file, "client.yaml existed and was kept: it is not for this server");
        }
        return;
    };
    let client = client.display();
    // stdout is for log lines only. A closed stderr is not an error.
    let _ = writeln!(
        io::stderr(),
        "This server has just been set up. To connect a client, copy\n    {client}\n\
         to it (it holds the token: keep it secret) and run there, as root:\n    \
         qdt-client -config client.yaml\n\
         If clients reach this server at another address, change `server:` in that file."
    );
}
