//! Our pair, started as a user starts it, with the limit on packets switched off.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use conformance::{Config, Process, wait_until};

use super::{QDT, QDT_CHACHA, Tunnel, on_loopback, wait_until_answered, write_private};
use crate::programs;
use crate::veth_link::{SERVER, VethLink};

/// The cipher of the inner datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inner {
    /// AES-256-GCM: what two of our programs agree on.
    Aes,
    /// ChaCha20-Poly1305: what they speak with Go programs.
    ChaCha,
}

/// How long a program may take until it does what it was started for.
const START: Duration = Duration::from_secs(15);

/// Starts a server and a client and waits until the tunnel carries packets.
///
/// # Errors
/// When the programs are missing or their files cannot be written.
pub(crate) fn start(veth: &VethLink, inner: Inner, mtu: Option<u16>) -> Result<Tunnel<'_>> {
    let (name, device, net, offset) = match inner {
        Inner::Aes => (QDT, "qdt0", 8, 0),
        Inner::ChaCha => (QDT_CHACHA, "qdt1", 9, 1),
    };
    let gateway = Ipv4Addr::new(10, net, 0, 1);
    let metrics = on_loopback(9100 + offset);
    let (server, client) = configurations(veth, name, device, net, offset, mtu);

    let file = write_private(&veth.server, &format!("{name}-server.yaml"), &server.yaml())?;
    let server = Process::start(
        &veth.server,
        &format!("{name}-server"),
        &programs::ours("qdt-server")?,
        &["-config", &file.to_string_lossy()],
    );
    wait_until("the server's /healthz says ok", START, || {
        matches!(
            conformance::get(&veth.server, metrics, "/healthz"),
            Ok((200, _))
        )
    });

    let file = write_private(&veth.client, &format!("{name}-client.yaml"), &client.yaml())?;
    let (program, flag) = match inner {
        Inner::Aes => (programs::ours("qdt-client")?, "-config"),
        Inner::ChaCha => (programs::this()?, "chacha-client"),
    };
    let client = Process::start(
        &veth.client,
        &format!("{name}-client"),
        &program,
        &[flag, &file.to_string_lossy()],
    );
    wait_until_answered(veth, gateway);
    Ok(Tunnel {
        name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        address: gateway,
        device,
        processes: vec![client, server],
        metrics: Some((&veth.server, metrics)),
    })
}

/// Both configurations. Two pairs live side by side, so ports and files differ.
fn configurations(
    veth: &VethLink,
    name: &str,
    device: &str,
    net: u8,
    offset: u16,
    mtu: Option<u16>,
) -> (Config, Config) {
    let port = 443 + offset;
    let in_folder = |file: &str| {
        let path = veth.server.folder().join(format!("{name}-{file}.pem"));
        path.to_string_lossy().into_owned()
    };
    let mut server = Config::server()
        .set("addr", &format!("\":{port}\""))
        .set("tun_name", device)
        .set("pool_cidr", &format!("10.{net}.0.0/24"))
        .set("tls_cert", &in_folder("cert"))
        .set("tls_key", &in_folder("key"))
        .set("metrics_addr", &format!("\":{}\"", 9100 + offset))
        .set("health_addr", &format!("\":{}\"", 9200 + offset))
        .set("rate_limit", "{pps: -1, burst: -1}");
    let mut client = Config::client()
        .set("server", &format!("\"{SERVER}:{port}\""))
        .set("tun_name", device);
    if let Some(mtu) = mtu {
        server = server.set("mtu", &mtu.to_string());
        client = client.set("mtu", &mtu.to_string());
    }
    (server, client)
}
