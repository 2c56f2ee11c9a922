//! WireGuard at both ends, by either of two programs, configured over the socket that both of them
//! open as wg(8) would do it (wireguard.com/xplatform, "Configuration Protocol").

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use conformance::{Machine, Process, wait_for};

use super::{BORINGTUN, Tunnel, WIREGUARD_GO, wait_until_answered};
use crate::programs;
use crate::veth_link::{CLIENT, SERVER, VethLink};

/// One of the programs, and what keeps it apart from the other.
struct Implementation {
    name: &'static str,
    program: PathBuf,
    version: String,
    arguments: &'static [&'static str],
    device: &'static str,
    port: u16,
    /// Second number of the inner addresses.
    net: u8,
    /// Given to the device where the program leaves it at the kernel's 1500.
    mtu: Option<u16>,
}

/// One end: its keys in hexadecimal, its address outside and the last number of the one inside.
struct End {
    private: &'static str,
    public: &'static str,
    outer: Ipv4Addr,
    host: u8,
}

/// The key pairs of RFC 7748, section 6.1: they are public, and nothing here is secret.
const CLIENT_END: End = End {
    private: "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    public: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    outer: CLIENT,
    host: 2,
};
const SERVER_END: End = End {
    private: "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    public: "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
    outer: SERVER,
    host: 1,
};

/// wireguard-go, which gives its device the MTU 1420 itself.
///
/// # Errors
/// When it cannot be built or refuses its configuration.
pub(crate) fn start_go(veth: &VethLink) -> Result<Tunnel<'_>> {
    let program = programs::wireguard_go()?;
    start(
        veth,
        Implementation {
            name: WIREGUARD_GO,
            version: programs::version(&program, &["--version"])?,
            program,
            arguments: &["-f"],
            device: "wg0",
            port: 51820,
            net: 10,
            mtu: None,
        },
    )
}

/// boringtun with its four threads. It does not know an MTU; wg-quick(8), by which its README has
/// it started, sets 1420 where the path carries 1500. It gives up root for the user who logged in,
/// and here there is none.
///
/// # Errors
/// When it is not installed or refuses its configuration.
pub(crate) fn start_boringtun(veth: &VethLink) -> Result<Tunnel<'_>> {
    let (program, version) = programs::tool("boringtun-cli")?;
    start(
        veth,
        Implementation {
            name: BORINGTUN,
            version,
            program,
            arguments: &["-f", "--disable-drop-privileges"],
            device: "wg1",
            port: 51821,
            net: 11,
            mtu: Some(1420),
        },
    )
}

/// Starts both ends and waits until the tunnel carries packets.
fn start<'veth>(veth: &'veth VethLink, program: Implementation) -> Result<Tunnel<'veth>> {
    let client = start_end(&veth.client, &program, &CLIENT_END, &SERVER_END)?;
    let server = start_end(&veth.server, &program, &SERVER_END, &CLIENT_END)?;
    let address = program.inner(&SERVER_END);
    wait_until_answered(veth, address);
    Ok(Tunnel {
        name: program.name,
        version: program.version,
        address,
        device: program.device,
        processes: vec![client, server],
        metrics: None,
    })
}

fn start_end(
    machine: &Machine,
    program: &Implementation,
    own: &End,
    other: &End,
) -> Result<Process> {
    let Implementation { name, device, .. } = program;
    let arguments = [program.arguments, &[device]].concat();
    let process = Process::start(machine, name, &program.program, &arguments);
    // The machine has a /run of its own, which lies in its folder.
    let socket = machine
        .folder()
        .join(format!("run/wireguard/{device}.sock"));
    let socket = wait_for(&format!("{name}'s socket"), Duration::from_secs(10), || {
        UnixStream::connect(&socket).ok()
    });
    configure(socket, &program.configuration(own, other))
        .with_context(|| format!("{name}'s configuration"))?;
    machine.ip(&format!(
        "address add {}/24 dev {device}",
        program.inner(own)
    ));
    if let Some(mtu) = program.mtu {
        machine.ip(&format!("link set {device} mtu {mtu}"));
    }
    machine.ip(&format!("link set {device} up"));
    Ok(process)
}

impl Implementation {
    fn inner(&self, end: &End) -> Ipv4Addr {
        Ipv4Addr::new(10, self.net, 0, end.host)
    }

    fn configuration(&self, own: &End, other: &End) -> String {
        format!(
            "set=1\nprivate_key={}\nlisten_port={port}\nreplace_peers=true\npublic_key={}\n\
             endpoint={}:{port}\nallowed_ip={}/32\n\n",
            own.private,
            other.public,
            other.outer,
            self.inner(other),
            port = self.port,
        )
    }
}

fn configure(mut socket: UnixStream, text: &str) -> Result<()> {
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(text.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    ensure!(answer == "errno=0\n", "refused with {}", answer.trim_end());
    Ok(())
}
