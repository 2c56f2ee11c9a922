//! The server.yaml that a first start writes.

use std::path::Path;

use qdt_program::{Token, yaml_scalar};

use super::file::ServerFile;

/// The text of a new server.yaml in `directory` (as the path of the configuration names it), with
/// every key of the Go server and its default, so that the user sees what there is to change.
pub fn first_start_yaml(directory: &Path, token: &Token, cpus: usize) -> String {
    let defaults = ServerFile::default().with_defaults(cpus);
    let beside = |name: &str| {
        // A path that is no text has no place in YAML; nothing there means beside this very file.
        let path = directory.join(name);
        yaml_scalar(path.to_str().unwrap_or_default()).into_owned()
    };
    let token = String::from_utf8_lossy(token.as_bytes());
    format!(
        "addr: {addr}
tls_cert: {tls_cert}
tls_key: {tls_key}
token: {token}
mtu: {mtu}
tun_name: {tun_name}
pool_cidr: {pool_cidr}
gateway_ip: {gateway_ip}
dns: []
metrics_addr: {metrics_addr}
health_addr: {health_addr}
pprof_addr: \"\"
log_level: \"\"
log_json: false
session_timeout: {session_timeout}
max_reassembly_bytes: {max_reassembly_bytes}
max_sessions: 0
rate_limit:
    pps: {rate_pps}
    burst: {rate_burst}
handshake_rate:
    pps: {handshake_pps}
    burst: {handshake_burst}
handshake_ip_rate:
    pps: {ip_pps}
    burst: {ip_burst}
    ttl: {ip_ttl}
send_workers: {send_workers}
send_queue: {send_queue}
send_batch: {send_batch}
send_datagram_queue: {send_datagram_queue}
session_shards: {session_shards}
nat:
    enabled: false
    external_iface: \"\"
",
        addr = yaml_scalar(&defaults.addr),
        tls_cert = beside("cert.pem"),
        tls_key = beside("key.pem"),
        token = yaml_scalar(&token),
        mtu = defaults.mtu,
        tun_name = yaml_scalar(&defaults.tun_name),
        pool_cidr = yaml_scalar(&defaults.pool_cidr),
        gateway_ip = yaml_scalar(&defaults.gateway_ip),
        metrics_addr = yaml_scalar(&defaults.metrics_addr),
        health_addr = yaml_scalar(&defaults.health_addr),
        session_timeout = defaults.session_timeout,
        max_reassembly_bytes = defaults.max_reassembly_bytes,
        rate_pps = defaults.rate_limit.pps,
        rate_burst = defaults.rate_limit.burst,
        handshake_pps = defaults.handshake_rate.pps,
        handshake_burst = defaults.handshake_rate.burst,
        ip_pps = defaults.handshake_ip_rate.pps,
        ip_burst = defaults.handshake_ip_rate.burst,
        ip_ttl = defaults.handshake_ip_rate.ttl,
        send_workers = defaults.send_workers,
        send_queue = defaults.send_queue,
        send_batch = defaults.send_batch,
        send_datagram_queue = defaults.send_datagram_queue,
        session_shards = defaults.session_shards,
    )
}
