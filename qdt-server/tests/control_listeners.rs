//! The HTTP listeners of the control side, over real sockets on loopback.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qdt_server::control::{ControlServer, MAX_CONNECTIONS, Pages, PeerFilter, Role};
use qdt_server::metrics::{Metrics, Snapshot};

const DEADLINE: Duration = Duration::from_secs(20);

struct Control {
    server: ControlServer,
    filter: Arc<PeerFilter>,
    healthy: Arc<AtomicBool>,
    _runtime: tokio::runtime::Runtime,
}

/// Listeners for `roles`, all configured at `at`; peers in `inside` count as clients.
fn control(roles: &[Role], at: &[SocketAddr], inside: &str) -> Control {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let healthy = Arc::new(AtomicBool::new(true));
    let filter = Arc::new(PeerFilter::new(
        inside.parse().unwrap(),
        "10.8.0.1".parse().unwrap(),
    ));
    let metrics = Metrics::new(|| Snapshot {
        handshakes: vec![("ok", 0)],
        ..Snapshot::default()
    });
    let health = Arc::clone(&healthy);
    let pages = Pages::new(metrics, move || health.load(Ordering::Relaxed));
    let _entered = runtime.enter();
    let addresses = roles.iter().map(|role| (*role, Ok(at.to_vec()))).collect();
    let server = ControlServer::start(addresses, &pages, &filter);
    drop(_entered);
    Control {
        server,
        filter,
        healthy,
        _runtime: runtime,
    }
}

impl Control {
    fn address(&self) -> SocketAddr {
        self.server.listening()[0].1
    }
}

fn any_port() -> Vec<SocketAddr> {
    vec!["127.0.0.1:0".parse().unwrap()]
}

/// Head and body of the response to `GET path`; `None` if the connection was reset.
fn get(address: SocketAddr, path: &str) -> Option<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    )
    .ok()?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).ok()?;
    let split = response.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((
        String::from_utf8_lossy(&response[..split]).to_lowercase(),
        response[split + 4..].to_vec(),
    ))
}

#[test]
fn healthz_is_ok_without_a_newline_and_empty_503_while_not_ready() {
    let control = control(&[Role::Health], &any_port(), "10.8.0.0/24");
    let (head, body) = get(control.address(), "/healthz").unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(body, b"ok");
    control.healthy.store(false, Ordering::Relaxed);
    let (head, body) = get(control.address(), "/healthz").unwrap();
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body, b"");
}

#[test]
fn equal_addresses_are_one_listener_with_the_pages_of_both() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let control = control(
        &[Role::Metrics, Role::Health, Role::Pprof],
        &[port],
        "10.8.0.0/24",
    );
    assert_eq!(control.server.listening().len(), 1);
    let (head, body) = get(port, "/metrics").unwrap();
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(
        String::from_utf8(body)
            .unwrap()
            .contains("\nqdt_sessions_active 0\n")
    );
    assert_eq!(get(port, "/healthz").unwrap().1, b"ok");
    assert!(
        get(port, "/debug/pprof/")
            .unwrap()
            .0
            .starts_with("http/1.1 200")
    );
}

#[test]
fn a_listener_has_only_the_pages_of_its_roles() {
    let health = control(&[Role::Health], &any_port(), "10.8.0.0/24");
    assert!(
        get(health.address(), "/metrics")
            .unwrap()
            .0
            .starts_with("http/1.1 404")
    );
    assert!(
        get(health.address(), "/debug/pprof/")
            .unwrap()
            .0
            .starts_with("http/1.1 404")
    );
    let metrics = control(&[Role::Metrics], &any_port(), "10.8.0.0/24");
    assert_eq!(get(metrics.address(), "/healthz").unwrap().1, b"ok");
}

#[test]
fn a_busy_address_costs_its_own_pages_only() {
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = control(
        &[Role::Metrics],
        &[busy.local_addr().unwrap()],
        "10.8.0.0/24",
    );
    assert_eq!(taken.server.listening(), []);
    let health = control(&[Role::Health], &any_port(), "10.8.0.0/24");
    assert_eq!(get(health.address(), "/healthz").unwrap().1, b"ok");
}

#[test]
fn an_unspecified_address_accepts_ipv4_and_ipv6() {
    let control = control(&[Role::Health], &["[::]:0".parse().unwrap()], "10.8.0.0/24");
    let port = control.address().port();
    for host in ["127.0.0.1", "[::1]"] {
        let address = format!("{host}:{port}").parse().unwrap();
        assert_eq!(get(address, "/healthz").expect(host).1, b"ok");
    }
}

#[test]
fn h4_a_peer_from_inside_the_tunnel_is_reset_at_accept_and_counted() {
    let control = control(&[Role::Metrics], &any_port(), "127.0.0.0/8");
    assert!(
        get(control.address(), "/metrics").is_none(),
        "a client read the metrics"
    );
    assert_eq!(control.filter.refused(), 1);
}

#[test]
fn h4_the_gateways_own_address_is_not_a_client() {
    let filter = PeerFilter::new("10.8.0.0/24".parse().unwrap(), "10.8.0.1".parse().unwrap());
    assert!(filter.allows("10.8.0.1".parse().unwrap()));
    assert!(filter.allows("192.0.2.1".parse().unwrap()));
    assert!(filter.allows("2001:db8::1".parse().unwrap()));
    assert!(!filter.allows("10.8.0.2".parse().unwrap()));
    assert!(!filter.allows("::ffff:10.8.0.2".parse().unwrap()));
    assert_eq!(filter.refused(), 2);
}

#[test]
fn many_idle_connections_neither_block_healthz_nor_exhaust_descriptors() {
    let control = control(&[Role::Metrics], &any_port(), "10.8.0.0/24");
    let idle: Vec<_> = (0..4 * MAX_CONNECTIONS)
        .map(|_| TcpStream::connect(control.address()).unwrap())
        .collect();
    assert_eq!(get(control.address(), "/healthz").unwrap().1, b"ok");
    // All but the newest MAX_CONNECTIONS are closed.
    for mut stream in idle.iter().take(3 * MAX_CONNECTIONS - 1) {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let end = stream.read(&mut [0; 16]);
        assert!(!matches!(end, Ok(1..)), "a response without a request");
        let timed_out = end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
        assert!(
            !timed_out,
            "an idle connection beyond the cap is still open"
        );
    }
}

#[test]
fn unfinished_requests_and_unread_responses_do_not_block_healthz() {
    let control = control(&[Role::Metrics], &any_port(), "10.8.0.0/24");
    let stuck: Vec<_> = (0..2 * MAX_CONNECTIONS)
        .map(|n| {
            let mut stream = TcpStream::connect(control.address()).unwrap();
            let end = if n % 2 == 0 { "" } else { "\r\n\r\n" };
            // Those that were evicted already are reset.
            let _ = write!(stream, "GET /metrics HTTP/1.1\r\nhost: x{end}");
            stream
        })
        .collect();
    assert_eq!(get(control.address(), "/healthz").unwrap().1, b"ok");
    drop(stuck);
}

#[test]
fn a_connection_serves_several_requests() {
    let control = control(&[Role::Health], &any_port(), "10.8.0.0/24");
    let mut stream = TcpStream::connect(control.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    for _ in 0..3 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\nok") {
            let mut part = [0; 512];
            let len = stream.read(&mut part).unwrap();
            assert_ne!(len, 0, "closed after {response:?}");
            response.extend_from_slice(&part[..len]);
        }
    }
}

#[inline(never)]
fn burn_cycles_in_a_function_with_a_name(stop: &AtomicBool) -> u64 {
    let mut state = 1u64;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..10_000 {
            state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005) + 1);
        }
    }
    state
}

#[test]
fn a_cpu_profile_names_the_functions_that_ran() {
    let control = control(&[Role::Pprof], &any_port(), "10.8.0.0/24");
    let stop = Arc::new(AtomicBool::new(false));
    let load = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || burn_cycles_in_a_function_with_a_name(&stop)
    });
    let (head, body) = get(control.address(), "/debug/pprof/profile?seconds=1").unwrap();
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let name = b"burn_cycles_in_a_function_with_a_name";
    assert!(
        body.windows(name.len()).any(|window| window == name),
        "{} bytes",
        body.len()
    );
    let (_, cmdline) = get(control.address(), "/debug/pprof/cmdline").unwrap();
    assert!(!cmdline.is_empty());
}
