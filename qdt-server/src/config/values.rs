//! The checks of single values, which return the checked value or the problem with key and remedy.
//! Adjusted values come with a warning.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use qdt_host::check_interface_name;
use qdt_program::{ConfigProblem, GoDuration, HostPort, Warning};
use qdt_proto::handshake::MIN_MTU;

use super::file::RateFile;
use super::{Nat, Rate};

/// The longest prefix that leaves room for the gateway and one client.
const MAX_PREFIX: u8 = 30;

pub(super) fn address(key: &'static str, text: &str) -> Result<HostPort, ConfigProblem> {
    HostPort::from_str(text).map_err(|error| ConfigProblem::new(key, error))
}

pub(super) fn path_or_default(given: &str, directory: &Path, name: &str) -> PathBuf {
    if given.is_empty() {
        directory.join(name)
    } else {
        PathBuf::from(given)
    }
}

pub(super) fn mtu(mtu: i64, warnings: &mut Vec<Warning>) -> u16 {
    let used = mtu.clamp(i64::from(MIN_MTU), i64::from(u16::MAX));
    if used != mtu {
        let text = format!("{mtu} is outside {MIN_MTU} to 65535; {used} is used");
        warnings.push(Warning::new("mtu", text));
    }
    u16::try_from(used).expect("clamped to the range of u16")
}

pub(super) fn pool(text: &str) -> Result<IpNet, ConfigProblem> {
    let problem = |what: &str| {
        ConfigProblem::new(
            "pool_cidr",
            format!("{text:?} {what}; use for example 10.8.0.0/24"),
        )
    };
    let pool = match IpNet::from_str(text) {
        Ok(pool @ IpNet::V4(_)) => pool,
        _ if text.contains(':') => {
            return Err(problem(
                "is not IPv4, and only IPv4 is supported for the pool",
            ));
        }
        _ => return Err(problem("is not a network")),
    };
    if pool.prefix_len() > MAX_PREFIX {
        return Err(problem(
            "is too small: the gateway and one client need at least a /30",
        ));
    }
    Ok(pool)
}

pub(super) fn gateway(text: &str, pool: IpNet) -> Result<IpAddr, ConfigProblem> {
    let problem = |what: &str| {
        ConfigProblem::new(
            "gateway_ip",
            format!(
                "{text:?} {what}; leave the key out for the first host, or name another host of the pool"
            ),
        )
    };
    let gateway = IpAddr::from_str(text)
        .ok()
        .filter(IpAddr::is_ipv4)
        .ok_or_else(|| problem("is not an IPv4 address"))?;
    if !pool.contains(&gateway) {
        return Err(problem(&format!("is outside the pool {pool}")));
    }
    if gateway == pool.network() || gateway == pool.broadcast() {
        return Err(problem(&format!("is not a host of the pool {pool}")));
    }
    Ok(gateway)
}

pub(super) fn link_local(texts: &[String]) -> Result<Vec<IpAddr>, ConfigProblem> {
    let parse = |text: &String| match IpAddr::from_str(text) {
        Ok(address @ IpAddr::V4(v4)) if v4.is_link_local() => Ok(address),
        _ => {
            let remedy = "name single addresses, for example [169.254.169.254]";
            Err(ConfigProblem::new(
                "forward_link_local",
                format!("{text:?} is not an address of 169.254.0.0/16; {remedy}"),
            ))
        }
    };
    texts.iter().map(parse).collect()
}

/// Returns the limit; a negative value means none.
pub(super) fn rate(file: RateFile) -> Option<Rate> {
    let limit = |value: i64| (value >= 0).then(|| u32::try_from(value).unwrap_or(u32::MAX).max(1));
    Some(Rate {
        pps: limit(file.pps)?,
        burst: limit(file.burst)?,
    })
}

pub(super) fn ttl(given: GoDuration, warnings: &mut Vec<Warning>) -> Duration {
    if given.is_negative() {
        let text = format!("{given} is negative; 1m0s is used");
        warnings.push(Warning::new("handshake_ip_rate.ttl", text));
        return Duration::from_secs(60);
    }
    given.to_std()
}

/// Returns `given`, or `default` if it is not positive, clamped to 1..=`max`. Warns if the result
/// is not `given`, unless that is the default.
pub(super) fn count(
    key: &str,
    given: i64,
    default: i64,
    max: usize,
    warnings: &mut Vec<Warning>,
) -> usize {
    let max = i64::try_from(max).expect("a small constant");
    let wanted = if given > 0 { given } else { default };
    let used = wanted.clamp(1, max);
    if given != used && given != default {
        let text = format!("{given} is outside 1 to {max}; {used} is used");
        warnings.push(Warning::new(key, text));
    }
    usize::try_from(used).expect("clamped to 1..=max")
}

pub(super) fn nat(enabled: bool, external_iface: &str) -> Result<Option<Nat>, ConfigProblem> {
    let named = enabled && !external_iface.is_empty();
    if named && check_interface_name(external_iface).is_err() {
        return Err(ConfigProblem::new(
            "nat.external_iface",
            format!(
                "{external_iface:?} is not an interface name; leave it out for the interface of the default route"
            ),
        ));
    }
    Ok(enabled.then(|| Nat {
        external_iface: named.then(|| external_iface.to_owned()),
    }))
}
