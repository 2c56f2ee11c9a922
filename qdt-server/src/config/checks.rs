//! The checks that turn a file into a configuration, one function per part of it.
//!
//! Values that a running Go server would tolerate are adjusted with a warning; values with which no
//! client could be served are refused. Each problem names its key and its remedy.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::Path;

use qdt_host::check_interface_name;
use qdt_program::{ConfigProblem, LogConfig, TokenProblem, Warning};
use qdt_transport::MAX_WORKERS;

use super::file::{RateFile, ServerFile};
use super::values::{
    address, count, gateway, link_local, mtu, nat, path_or_default, pool, rate, ttl,
};
use super::{
    AddressConfig, AdmissionConfig, ControlConfig, Credentials, HostConfig, ServerConfig,
    TransportConfig,
};

/// In longer queues packets are stale before they are sent.
const MAX_QUEUE: usize = 1 << 20;

/// More shards only cost memory.
const MAX_SHARDS: usize = 1 << 16;

/// Clients read 4096 bytes of a response, of which the rest takes less than 1024.
const MAX_DNS: usize = 3072;

/// Checks `file`, which is in `directory`; `cpus` is the number of CPUs.
pub(super) fn check(
    file: ServerFile,
    directory: &Path,
    cpus: usize,
    warnings: &mut Vec<Warning>,
) -> Result<ServerConfig, ConfigProblem> {
    let file = file.with_defaults(cpus);
    let default = ServerFile::default().with_defaults(cpus);
    Ok(ServerConfig {
        credentials: credentials(&file, directory, warnings)?,
        addresses: addresses(&file, warnings)?,
        host: host(&file)?,
        log: log(&file)?,
        control: control(&file)?,
        transport: transport(&file, &default, warnings)?,
        admission: admission(&file, &default, warnings),
    })
}

fn credentials(
    file: &ServerFile,
    directory: &Path,
    warnings: &mut Vec<Warning>,
) -> Result<Credentials, ConfigProblem> {
    file.token.check().map_err(|problem| match problem {
        TokenProblem::Missing => ConfigProblem::new(
            "token",
            "missing or empty; put the secret there that your clients use (an existing file is never given a new one)",
        ),
        other => ConfigProblem::new("token", other),
    })?;
    if file.token.is_weak() {
        let length = file.token.as_bytes().len();
        warnings.push(Warning::new(
            "token",
            format!(
                "WEAK TOKEN: only {length} bytes, anyone can guess their way in; use at least 16, for example the output of `openssl rand -base64 32`"
            ),
        ));
    }
    Ok(Credentials {
        token: file.token.clone(),
        tls_cert: path_or_default(&file.tls_cert, directory, "cert.pem"),
        tls_key: path_or_default(&file.tls_key, directory, "key.pem"),
    })
}

fn addresses(
    file: &ServerFile,
    warnings: &mut Vec<Warning>,
) -> Result<AddressConfig, ConfigProblem> {
    let pool = pool(&file.pool_cidr)?;
    let gateway = gateway(&file.gateway_ip, pool)?;
    for resolver in file
        .dns
        .iter()
        .filter(|text| text.parse::<IpAddr>().is_err())
    {
        let text =
            format!("{resolver:?} is not an IP address; clients of this suite will refuse it");
        warnings.push(Warning::new("dns", text));
    }
    // In the response each has quotation marks and a comma.
    let dns: usize = file.dns.iter().map(|text| text.len() + 3).sum();
    if dns > MAX_DNS {
        return Err(ConfigProblem::new(
            "dns",
            format!(
                "the {} resolvers take {dns} bytes of an answer, at most {MAX_DNS} fit; name fewer",
                file.dns.len()
            ),
        ));
    }
    Ok(AddressConfig {
        pool,
        pool_text: file.pool_cidr.clone(),
        gateway,
        dns: file.dns.clone(),
        session_timeout: file.session_timeout.to_std(),
    })
}

fn host(file: &ServerFile) -> Result<HostConfig, ConfigProblem> {
    if check_interface_name(&file.tun_name).is_err() {
        return Err(ConfigProblem::new(
            "tun_name",
            format!(
                "{:?} is not an interface name; use 1 to 15 characters without spaces, slashes and colons",
                file.tun_name
            ),
        ));
    }
    Ok(HostConfig {
        tun_name: file.tun_name.clone(),
        nat: nat(file.nat.enabled, &file.nat.external_iface)?,
        client_to_client: file.client_to_client,
        forward_link_local: link_local(&file.forward_link_local)?,
    })
}

fn log(file: &ServerFile) -> Result<LogConfig, ConfigProblem> {
    let level = file
        .log_level
        .parse()
        .map_err(|error| ConfigProblem::new("log_level", error))?;
    Ok(LogConfig {
        level,
        json: file.log_json,
    })
}

fn control(file: &ServerFile) -> Result<ControlConfig, ConfigProblem> {
    let pprof_addr = match file.pprof_addr.as_str() {
        "" => None,
        text => Some(address("pprof_addr", text)?),
    };
    Ok(ControlConfig {
        metrics_addr: address("metrics_addr", &file.metrics_addr)?,
        health_addr: address("health_addr", &file.health_addr)?,
        pprof_addr,
    })
}

fn transport(
    file: &ServerFile,
    default: &ServerFile,
    warnings: &mut Vec<Warning>,
) -> Result<TransportConfig, ConfigProblem> {
    let mut number = |key, given, default, max| count(key, given, default, max, warnings);
    let queue = number("send_queue", file.send_queue, default.send_queue, MAX_QUEUE);
    let workers = number(
        "send_workers",
        file.send_workers,
        default.send_workers,
        MAX_WORKERS,
    );
    let queue_default = i64::try_from(queue).expect("at most MAX_QUEUE");
    Ok(TransportConfig {
        send_queue: queue,
        send_workers: u16::try_from(workers).expect("at most MAX_WORKERS"),
        send_batch: number("send_batch", file.send_batch, default.send_batch, MAX_QUEUE),
        send_datagram_queue: number(
            "send_datagram_queue",
            file.send_datagram_queue,
            queue_default,
            MAX_QUEUE,
        ),
        max_reassembly_bytes: usize::try_from(file.max_reassembly_bytes).unwrap_or(0),
        addr: address("addr", &file.addr)?,
        mtu: mtu(file.mtu, warnings),
    })
}

fn admission(
    file: &ServerFile,
    default: &ServerFile,
    warnings: &mut Vec<Warning>,
) -> AdmissionConfig {
    let per_address = file.handshake_ip_rate;
    AdmissionConfig {
        max_sessions: usize::try_from(file.max_sessions)
            .ok()
            .and_then(NonZeroUsize::new),
        rate_limit: rate(file.rate_limit),
        handshake_rate: rate(file.handshake_rate),
        handshake_ip_rate: rate(RateFile {
            pps: per_address.pps,
            burst: per_address.burst,
        }),
        handshake_ip_ttl: ttl(per_address.ttl, warnings),
        session_shards: count(
            "session_shards",
            file.session_shards,
            default.session_shards,
            MAX_SHARDS,
            warnings,
        ),
    }
}
