//! quincy at both ends, with the settings it has when nothing is set: TLS with certificates at both
//! ends, MTU 1400.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conformance::{Machine, Process};

use super::{QUINCY, Tunnel, wait_until_answered, write_private};
use crate::programs;
use crate::veth_link::{SERVER, VethLink};

const DEVICE: &str = "quincy0";
const PORT: u16 = 55555;
/// The server's address inside.
const INNER: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 1);
/// How long a program may take until it does what it was started for.
const START: Duration = Duration::from_secs(15);

/// Starts both ends and waits until the tunnel carries packets.
///
/// # Errors
/// When quincy is not installed, or its certificates or files cannot be written.
pub(crate) fn start(veth: &VethLink) -> Result<Tunnel<'_>> {
    let (server, version) = programs::tool("quincy-server")?;
    let (client, _) = programs::tool("quincy-client")?;
    let (identity, _) = programs::tool("quincy-identity")?;
    // A server that is named by its address has it in its certificate.
    let at_server = Certificate::make(&identity, &veth.server, &SERVER.to_string())?;
    let at_client = Certificate::make(&identity, &veth.client, "bench")?;
    let users = write_private(
        &veth.server,
        "quincy-users.toml",
        &format!(
            "[users.bench]\nauthorized_keys = []\nauthorized_certs = [\"{}\"]\n",
            at_client.fingerprint(&identity)?
        ),
    )?;
    let config = write_private(
        &veth.server,
        "quincy-server.toml",
        &format!(
            "name = \"bench\"\ninterface_name = \"{DEVICE}\"\nbind_port = {PORT}\n\
             tunnel_network = \"{INNER}/24\"\nusers_file = \"{}\"\n\
             [protocol]\nmode = \"tls\"\ncertificate_file = \"{}\"\ncertificate_key_file = \"{}\"\n\
             [log]\nlevel = \"info\"\n",
            users.display(),
            at_server.certificate,
            at_server.key,
        ),
    )?;
    let mut server = Process::start(
        &veth.server,
        "quincy-server",
        &server,
        &["--config-path", &config.to_string_lossy()],
    );
    server.wait_for_line("Starting connection handler", START);
    let config = write_private(
        &veth.client,
        "quincy-client.toml",
        &format!(
            "connection_string = \"{SERVER}:{PORT}\"\n\
             [protocol]\nmode = \"tls\"\ntrusted_certificate_paths = [\"{}\"]\n\
             client_certificate_file = \"{}\"\nclient_certificate_key_file = \"{}\"\n\
             [network]\ninterface_name = \"{DEVICE}\"\n\
             [log]\nlevel = \"info\"\n",
            at_server.certificate, at_client.certificate, at_client.key,
        ),
    )?;
    let client = Process::start(
        &veth.client,
        "quincy-client",
        &client,
        &["--config-path", &config.to_string_lossy()],
    );
    wait_until_answered(veth, INNER);
    Ok(Tunnel {
        name: QUINCY,
        version,
        address: INNER,
        device: DEVICE,
        processes: vec![client, server],
        metrics: None,
    })
}

/// A certificate and its key, as paths.
struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    fn make(identity: &Path, machine: &Machine, name: &str) -> Result<Self> {
        let in_folder = |file: &str| machine.folder().join(file).to_string_lossy().into_owned();
        let made = Self {
            certificate: in_folder("quincy-cert.pem"),
            key: in_folder("quincy-key.pem"),
        };
        let (certificate, key) = (&made.certificate, &made.key);
        let arguments = ["--out-cert", certificate, "--out-key", key, "--cn", name];
        ask(identity, "gencert", &arguments)?;
        Ok(made)
    }

    fn fingerprint(&self, identity: &Path) -> Result<String> {
        let text = ask(identity, "fingerprint", &["--cert", &self.certificate])?;
        let found = text
            .split_whitespace()
            .find(|word| word.starts_with("sha256:"));
        Ok(found
            .context("quincy-identity tells no fingerprint")?
            .to_owned())
    }
}

fn ask(identity: &Path, what: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(identity)
        .args(["tls", what])
        .args(arguments)
        .output()
        .with_context(|| identity.display().to_string())?;
    ensure!(
        output.status.success(),
        "quincy-identity tls {what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
