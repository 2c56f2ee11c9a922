//! The checks of client.yaml: each problem names its key and the remedy.

use std::path::PathBuf;
use std::time::Duration;

use qdt_host::check_interface_name;
use qdt_program::{ConfigProblem, GoDuration, HostPort, LogConfig, Warning};
use qdt_proto::handshake::{DEFAULT_MTU, MIN_MTU};
use qdt_transport::SpkiPin;

use super::file::ClientFile;
use super::{ClientConfig, RouteMode};

/// The longest name in bytes: a request's body has at most 4096 bytes, and JSON may need six for
/// one character.
const MAX_CLIENT_ID: usize = 512;

/// The shortest interval; more frequent probes are load without information.
const MIN_PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// Checks `file`, whose defaults are filled in.
pub(super) fn check(
    file: ClientFile,
    warnings: &mut Vec<Warning>,
) -> Result<ClientConfig, ConfigProblem> {
    file.token
        .check()
        .map_err(|problem| ConfigProblem::new("token", problem))?;
    if file.token.is_weak() {
        let length = file.token.as_bytes().len();
        let text = format!(
            "WEAK TOKEN: only {length} bytes, anyone can guess their way in; use at least 16 on the server and here"
        );
        warnings.push(Warning::new("token", text));
    }
    let server: HostPort = file
        .server
        .parse()
        .map_err(|error| ConfigProblem::new("server", error))?;
    if server.port().parse() == Ok(0) {
        let text = format!(
            "{server}: no server can be reached at port 0; write its UDP port, most often 443"
        );
        return Err(ConfigProblem::new("server", text));
    }
    if check_interface_name(&file.tun_name).is_err() {
        return Err(ConfigProblem::new(
            "tun_name",
            format!(
                "{:?} is no interface name; use 1 to 15 characters without spaces, slashes and colons",
                file.tun_name
            ),
        ));
    }
    let mut dns = Vec::new();
    for text in &file.dns {
        let address = text.parse().map_err(|_| {
            ConfigProblem::new(
                "dns",
                format!("{text:?} is no IP address; write addresses such as 9.9.9.9"),
            )
        })?;
        dns.push(address);
    }
    let server_pin = match file.server_pin.as_str() {
        "" => None,
        text => Some(
            text.parse::<SpkiPin>()
                .map_err(|error| ConfigProblem::new("server_pin", error))?,
        ),
    };
    if file.insecure && server_pin.is_none() {
        warnings.push(Warning::new(
            "insecure",
            "INSECURE: any certificate is accepted, so anyone on the way can read the token; use server_pin or ca_file instead",
        ));
    }
    if file.client_id.len() > MAX_CLIENT_ID {
        return Err(ConfigProblem::new(
            "client_id",
            format!(
                "{} bytes long and at most {MAX_CLIENT_ID} fit into a request; use a shorter name",
                file.client_id.len()
            ),
        ));
    }
    let level = file
        .log_level
        .parse()
        .map_err(|error| ConfigProblem::new("log_level", error))?;
    Ok(ClientConfig {
        server,
        token: file.token,
        mtu: mtu(file.mtu, warnings),
        tun_name: file.tun_name,
        route_mode: route_mode(&file.route_mode, warnings),
        dns,
        log: LogConfig {
            level,
            json: file.log_json,
        },
        insecure: file.insecure,
        timeout: duration("timeout", file.timeout, Duration::from_secs(10), warnings),
        client_id: file.client_id,
        max_reassembly_bytes: usize::try_from(file.max_reassembly_bytes).unwrap_or(0),
        server_pin,
        ca_file: (!file.ca_file.is_empty()).then(|| PathBuf::from(file.ca_file)),
        probe_interval: probe_interval(file.probe_interval, warnings),
    })
}

fn probe_interval(given: GoDuration, warnings: &mut Vec<Warning>) -> Option<Duration> {
    if given.is_negative() {
        let text = format!("{given} is negative; the default is used");
        warnings.push(Warning::new("probe_interval", text));
        return None;
    }
    if given == GoDuration::ZERO {
        return None;
    }
    let used = given.to_std().max(MIN_PROBE_INTERVAL);
    if used != given.to_std() {
        let text = format!("{given} is too short; 100ms is used");
        warnings.push(Warning::new("probe_interval", text));
    }
    Some(used)
}

fn mtu(mtu: i64, warnings: &mut Vec<Warning>) -> u16 {
    // Servers take a negative mtu as the default.
    let used = if mtu < 0 {
        DEFAULT_MTU
    } else {
        mtu.clamp(i64::from(MIN_MTU), i64::from(u16::MAX))
    };
    if used != mtu {
        let text = format!("{mtu} is outside {MIN_MTU} to 65535; {used} is used");
        warnings.push(Warning::new("mtu", text));
    }
    u16::try_from(used).expect("clamped to the range of u16")
}

fn route_mode(text: &str, warnings: &mut Vec<Warning>) -> RouteMode {
    match text {
        "default" => RouteMode::Default,
        "cidr" => RouteMode::Cidr,
        "none" => RouteMode::None,
        other => {
            let text = format!(
                "{other:?} is none of default, cidr, none; default is used: everything goes through the tunnel"
            );
            warnings.push(Warning::new("route_mode", text));
            RouteMode::Default
        }
    }
}

fn duration(
    key: &str,
    given: GoDuration,
    fallback: Duration,
    warnings: &mut Vec<Warning>,
) -> Duration {
    if given.is_negative() {
        let text = format!("{given} is negative; {}s is used", fallback.as_secs());
        warnings.push(Warning::new(key, text));
        return fallback;
    }
    given.to_std()
}
