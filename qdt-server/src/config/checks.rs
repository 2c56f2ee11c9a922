//! From a file with its defaults to a configuration that holds: every value checked, each problem
//! named with its key and its remedy.
//!
//! What a running Go server would have put up with is adjusted and said; what could only end in a
//! server that serves nobody is refused before anything on the host changes.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::Ipv4Net;
use qdt_program::{
    ConfigProblem, GoDuration, HostPort, LogConfig, TokenProblem, Warning, is_interface_name,
};

use super::file::{RateFile, ServerFile};
use super::{Nat, Rate, ServerConfig};

/// Every IPv4 host must take this much (RFC 791), and a smaller tunnel only multiplies datagrams.
const MIN_MTU: i64 = 576;

/// The longest prefix that leaves room for the gateway and one client.
const MAX_PREFIX: u8 = 30;

/// Queues that one TUN device can have (MAX_TAP_QUEUES in drivers/net/tun.c), and values of the
/// byte of a connection id that names the worker.
const MAX_WORKERS: usize = 256;

/// Longer queues hold what is stale by the time it is sent.
const MAX_QUEUE: usize = 1 << 20;

/// More shards than this only cost memory.
const MAX_SHARDS: usize = 1 << 16;

/// Clients read 4096 bytes of an answer, and the rest of it takes less than 1024.
const MAX_DNS: usize = 3072;

/// Turns `file`, which lies in `directory`, into a configuration. `cpus` is the number of CPUs.
pub(super) fn check(
    file: ServerFile,
    directory: &Path,
    cpus: usize,
    warnings: &mut Vec<Warning>,
) -> Result<ServerConfig, ConfigProblem> {
    let file = file.with_defaults(cpus);
    let default = ServerFile::default().with_defaults(cpus);
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
    let pool = pool(&file.pool_cidr)?;
    let gateway = gateway(&file.gateway_ip, pool)?;
    if !is_interface_name(&file.tun_name) {
        return Err(ConfigProblem::new(
            "tun_name",
            format!(
                "{:?} is no interface name; use 1 to 15 characters without spaces, slashes and colons",
                file.tun_name
            ),
        ));
    }
    for resolver in file
        .dns
        .iter()
        .filter(|text| text.parse::<IpAddr>().is_err())
    {
        let text = format!("{resolver:?} is no IP address; clients of this suite will refuse it");
        warnings.push(Warning::new("dns", text));
    }
    // In the answer each stands in quotation marks, with a comma.
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
    let level = file
        .log_level
        .parse()
        .map_err(|error| ConfigProblem::new("log_level", error))?;
    let pprof_addr = match file.pprof_addr.as_str() {
        "" => None,
        text => Some(address("pprof_addr", text)?),
    };
    let send_queue = count(
        "send_queue",
        file.send_queue,
        default.send_queue,
        MAX_QUEUE,
        warnings,
    );
    Ok(ServerConfig {
        addr: address("addr", &file.addr)?,
        tls_cert: beside(&file.tls_cert, directory, "cert.pem"),
        tls_key: beside(&file.tls_key, directory, "key.pem"),
        token: file.token,
        mtu: mtu(file.mtu, warnings),
        tun_name: file.tun_name,
        pool,
        pool_text: file.pool_cidr,
        gateway,
        dns: file.dns,
        metrics_addr: address("metrics_addr", &file.metrics_addr)?,
        health_addr: address("health_addr", &file.health_addr)?,
        pprof_addr,
        log: LogConfig {
            level,
            json: file.log_json,
        },
        session_timeout: file.session_timeout.to_std(),
        max_reassembly_bytes: usize::try_from(file.max_reassembly_bytes).unwrap_or(0),
        max_sessions: usize::try_from(file.max_sessions)
            .ok()
            .and_then(NonZeroUsize::new),
        rate_limit: rate(file.rate_limit),
        handshake_rate: rate(file.handshake_rate),
        handshake_ip_rate: rate(RateFile {
            pps: file.handshake_ip_rate.pps,
            burst: file.handshake_ip_rate.burst,
        }),
        handshake_ip_ttl: ttl(file.handshake_ip_rate.ttl, warnings),
        send_workers: count(
            "send_workers",
            file.send_workers,
            default.send_workers,
            MAX_WORKERS,
            warnings,
        ),
        send_queue,
        send_batch: count(
            "send_batch",
            file.send_batch,
            default.send_batch,
            MAX_QUEUE,
            warnings,
        ),
        send_datagram_queue: count(
            "send_datagram_queue",
            file.send_datagram_queue,
            i64::try_from(send_queue).expect("at most MAX_QUEUE"),
            MAX_QUEUE,
            warnings,
        ),
        session_shards: count(
            "session_shards",
            file.session_shards,
            default.session_shards,
            MAX_SHARDS,
            warnings,
        ),
        nat: nat(file.nat.enabled, file.nat.external_iface)?,
        client_to_client: file.client_to_client,
        forward_link_local: link_local(&file.forward_link_local)?,
    })
}

fn address(key: &'static str, text: &str) -> Result<HostPort, ConfigProblem> {
    HostPort::from_str(text).map_err(|error| ConfigProblem::new(key, error))
}

fn beside(given: &str, directory: &Path, name: &str) -> PathBuf {
    if given.is_empty() {
        directory.join(name)
    } else {
        PathBuf::from(given)
    }
}

fn mtu(mtu: i64, warnings: &mut Vec<Warning>) -> u16 {
    let used = mtu.clamp(MIN_MTU, i64::from(u16::MAX));
    if used != mtu {
        let text = format!("{mtu} is outside 576 to 65535; {used} is used");
        warnings.push(Warning::new("mtu", text));
    }
    u16::try_from(used).expect("clamped to the range of u16")
}

fn pool(text: &str) -> Result<Ipv4Net, ConfigProblem> {
    let problem = |what: &str| {
        ConfigProblem::new(
            "pool_cidr",
            format!("{text:?} {what}; use for example 10.8.0.0/24"),
        )
    };
    let pool = Ipv4Net::from_str(text).map_err(|_| {
        if text.contains(':') {
            problem("is not IPv4, and only IPv4 is supported for the pool")
        } else {
            problem("is no network")
        }
    })?;
    if pool.prefix_len() > MAX_PREFIX {
        return Err(problem(
            "is too small: the gateway and one client need at least a /30",
        ));
    }
    Ok(pool)
}

fn gateway(text: &str, pool: Ipv4Net) -> Result<Ipv4Addr, ConfigProblem> {
    let problem = |what: &str| {
        ConfigProblem::new(
            "gateway_ip",
            format!(
                "{text:?} {what}; leave the key out for the first host, or name another host of the pool"
            ),
        )
    };
    let gateway = Ipv4Addr::from_str(text).map_err(|_| problem("is no IPv4 address"))?;
    if !pool.contains(&gateway) {
        return Err(problem(&format!("is outside the pool {pool}")));
    }
    if gateway == pool.network() || gateway == pool.broadcast() {
        return Err(problem(&format!("is not a host of the pool {pool}")));
    }
    Ok(gateway)
}

fn link_local(texts: &[String]) -> Result<Vec<Ipv4Addr>, ConfigProblem> {
    let parse = |text: &String| {
        let address = Ipv4Addr::from_str(text).ok();
        address.filter(Ipv4Addr::is_link_local).ok_or_else(|| {
            let remedy = "name single addresses, for example [169.254.169.254]";
            ConfigProblem::new(
                "forward_link_local",
                format!("{text:?} is not an address of 169.254.0.0/16; {remedy}"),
            )
        })
    };
    texts.iter().map(parse).collect()
}

/// Negative values switch the limit off.
fn rate(file: RateFile) -> Option<Rate> {
    let limit = |value: i64| (value >= 0).then(|| u32::try_from(value).unwrap_or(u32::MAX).max(1));
    Some(Rate {
        pps: limit(file.pps)?,
        burst: limit(file.burst)?,
    })
}

fn ttl(given: GoDuration, warnings: &mut Vec<Warning>) -> Duration {
    if given.is_negative() {
        let text = format!("{given} is negative; 1m0s is used");
        warnings.push(Warning::new("handshake_ip_rate.ttl", text));
        return Duration::from_secs(60);
    }
    given.to_std()
}

/// A number from 1 to `max`; a negative one means `default` (zero has become the default already).
fn count(key: &str, given: i64, default: i64, max: usize, warnings: &mut Vec<Warning>) -> usize {
    let max = i64::try_from(max).expect("a small constant");
    let wanted = if given > 0 { given } else { default };
    let used = wanted.clamp(1, max);
    if given != used {
        let text = format!("{given} is outside 1 to {max}; {used} is used");
        warnings.push(Warning::new(key, text));
    }
    usize::try_from(used).expect("clamped to 1..=max")
}

fn nat(enabled: bool, external_iface: String) -> Result<Option<Nat>, ConfigProblem> {
    if !enabled {
        return Ok(None);
    }
    if external_iface.is_empty() {
        return Ok(Some(Nat {
            external_iface: None,
        }));
    }
    if !is_interface_name(&external_iface) {
        return Err(ConfigProblem::new(
            "nat.external_iface",
            format!(
                "{external_iface:?} is no interface name; leave it out for the interface of the default route"
            ),
        ));
    }
    Ok(Some(Nat {
        external_iface: Some(external_iface),
    }))
}
