//! wireguard-go at both ends, configured over its socket as wg(8) would do it
//! (wireguard.com/xplatform, "Configuration Protocol").

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conformance::{Machine, Process, wait_for};

use super::{Tunnel, WIREGUARD_GO, wait_until_answered};
use crate::cable::{CLIENT, Cable, SERVER};
use crate::programs;

const DEVICE: &str = "wg0";
const PORT: u16 = 51820;

/// One end: its keys in hexadecimal, and its addresses outside and inside.
struct End {
    private: &'static str,
    public: &'static str,
    outer: Ipv4Addr,
    inner: Ipv4Addr,
}

/// The key pairs of RFC 7748, section 6.1: everybody knows them, and nothing here is worth hiding.
const CLIENT_END: End = End {
    private: "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    public: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    outer: CLIENT,
    inner: Ipv4Addr::new(10, 10, 0, 2),
};
const SERVER_END: End = End {
    private: "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    public: "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    outer: SERVER,
    inner: Ipv4Addr::new(10, 10, 0, 1),
};

/// Starts both ends and waits until the tunnel carries packets.
///
/// # Errors
/// When wireguard-go cannot be built or refuses its configuration.
pub(crate) fn start(cable: &Cable) -> Result<Tunnel<'_>> {
    let program = programs::wireguard_go()?;
    let client = start_end(&cable.client, &program, &CLIENT_END, &SERVER_END)?;
    let server = start_end(&cable.server, &program, &SERVER_END, &CLIENT_END)?;
    wait_until_answered(cable, SERVER_END.inner);
    Ok(Tunnel {
        name: WIREGUARD_GO,
        version: programs::version(&program, &["--version"])?,
        address: SERVER_END.inner,
        device: DEVICE,
        processes: vec![client, server],
        metrics: None,
    })
}

fn start_end(machine: &Machine, program: &Path, own: &End, other: &End) -> Result<Process> {
    let process = Process::start(machine, WIREGUARD_GO, program, &["-f", DEVICE]);
    // The machine has a /run of its own, which lies in its folder.
    let socket = machine
        .folder()
        .join(format!("run/wireguard/{DEVICE}.sock"));
    let socket = wait_for("wireguard-go's socket", Duration::from_secs(10), || {
        UnixStream::connect(&socket).ok()
    });
    configure(socket, &configuration(own, other))?;
    machine.ip(&format!("address add {}/24 dev {DEVICE}", own.inner));
    machine.ip(&format!("link set {DEVICE} up"));
    Ok(process)
}

fn configuration(own: &End, other: &End) -> String {
    format!(
        "set=1\nprivate_key={}\nlisten_port={PORT}\nreplace_peers=true\npublic_key={}\n\
         endpoint={}:{PORT}\nallowed_ip={}/32\n\n",
        own.private, other.public, other.outer, other.inner
    )
}

fn configure(mut socket: UnixStream, text: &str) -> Result<()> {
    let configured = "wireguard-go's configuration";
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .context(configured)?;
    socket.write_all(text.as_bytes()).context(configured)?;
    let mut answer = String::new();
    BufReader::new(socket)
        .read_line(&mut answer)
        .context(configured)?;
    ensure!(
        answer == "errno=0\n",
        "wireguard-go refused its configuration: {}",
        answer.trim_end()
    );
    Ok(())
}
