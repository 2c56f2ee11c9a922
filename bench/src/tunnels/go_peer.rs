//! The stand-in for the deployed Go programs at both ends: quic-go, one packet a call, two
//! datagrams for a full packet. Their settings are the deployed ones, with the limit on packets
//! switched off as it is for our pair; and the server reads requests of its own client, which the
//! deployed one refuses.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use conformance::{Binaries, Config, Process};

use super::{GO_PEER, Tunnel, wait_until_answered, write_private};
use crate::veth_link::{SERVER, VethLink};

const DEVICE: &str = "qdt2";
const PORT: u16 = 445;
/// The server's address inside.
const INNER: Ipv4Addr = Ipv4Addr::new(10, 13, 0, 1);
/// How long a program may take until it does what it was started for.
const START: Duration = Duration::from_secs(15);
/// Which quic-go it is made of.
const MODULE: &str = include_str!("../../../conformance/go-peer/go.mod");

/// Starts both ends and waits until the tunnel carries packets.
///
/// # Errors
/// When their files cannot be written.
///
/// # Panics
/// When there is no Go, or the tunnel does not come up.
pub(crate) fn start(veth: &VethLink) -> Result<Tunnel<'_>> {
    let program = Binaries::go_peer();
    let in_folder = |file: &str| {
        let path = veth.server.folder().join(file);
        path.to_string_lossy().into_owned()
    };
    let config = Config::server()
        .set("addr", &format!("\":{PORT}\""))
        .set("tun_name", DEVICE)
        .set("pool_cidr", "10.13.0.0/24")
        .set("tls_cert", &in_folder("go-cert.pem"))
        .set("tls_key", &in_folder("go-key.pem"))
        .set("rate_limit", "{pps: -1, burst: -1}")
        .set("test_lenient_content_length", "true");
    let file = write_private(&veth.server, "go-server.yaml", &config.yaml())?;
    let mut server = Process::start(
        &veth.server,
        "go-server",
        &program,
        &["server", "-config", &file.to_string_lossy()],
    );
    server.wait_for_line("listening", START);
    let config = Config::client()
        .set("server", &format!("\"{SERVER}:{PORT}\""))
        .set("tun_name", DEVICE);
    let file = write_private(&veth.client, "go-client.yaml", &config.yaml())?;
    let client = Process::start(
        &veth.client,
        "go-client",
        &program,
        &["client", "-config", &file.to_string_lossy()],
    );
    wait_until_answered(veth, INNER);
    Ok(Tunnel {
        name: GO_PEER,
        version: format!("quic-go {}", quic_go()),
        address: INNER,
        device: DEVICE,
        processes: vec![client, server],
        metrics: None,
    })
}

fn quic_go() -> &'static str {
    MODULE
        .lines()
        .find_map(|line| line.trim().strip_prefix("github.com/quic-go/quic-go "))
        .expect("the Go peer is made of quic-go")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_quic_go_is_read_from_its_module() {
        assert!(quic_go().starts_with("v0."), "{}", quic_go());
    }
}
