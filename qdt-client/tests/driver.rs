//! The driver between a recorded packet worker and a host in memory: the calls on the host, their
//! order, and what is left at the exit.

use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipnet::IpNet;
use qdt_client::{
    Cause, HostSettings, Outcome, Resolver, RouteMode, Settings, Tunnel, TunnelHost, drive,
};
use qdt_host::memory::{Call, MemoryHost, MemoryWatch};
use qdt_host::{
    Dns, DnsError, DnsPlan, DnsRepair, Host, HostResolvers, LinkError, LinkStatus, Links, Outside,
    OwnerError, OwnerWarning, RouteWarning,
};
use qdt_program::{LogConfig, Logger};
use qdt_proto::datagram::SessionId;
use qdt_proto::handshake::{Assignment, ConnectResponse};
use qdt_transport::{AttemptId, ClientCommand, ClientEvent, Dial, PacketSize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The virtual time after which a test fails; no step takes real time.
const PATIENCE: Duration = Duration::from_secs(300);

/// The virtual time within which an idle driver acts.
const SOON: Duration = Duration::from_secs(1);

/// The worker's side of a driven tunnel.
struct Worker {
    commands: UnboundedReceiver<ClientCommand>,
    events: UnboundedSender<ClientEvent>,
    stop: Option<oneshot::Sender<()>>,
}

impl Worker {
    async fn command(&mut self) -> ClientCommand {
        tokio::time::timeout(PATIENCE, self.commands.recv())
            .await
            .expect("a command in time")
            .expect("the driver runs")
    }

    async fn dial(&mut self) -> Dial {
        loop {
            match self.command().await {
                ClientCommand::Dial(dial) => return dial,
                ClientCommand::Close(_) => {}
                other => panic!("a dial was expected: {other:?}"),
            }
        }
    }

    fn report(&self, event: ClientEvent) {
        self.events.send(event).expect("the driver runs");
    }

    fn establish(&self, attempt: AttemptId, answer: ConnectResponse) {
        let assignment = Assignment::check(&answer, 1350).expect("a valid answer");
        self.report(ClientEvent::Established {
            attempt,
            assignment: Box::new(assignment),
            size: PacketSize::Full,
        });
    }

    /// Connects, and takes the queue.
    async fn connect(&mut self, response: ConnectResponse) -> (AttemptId, qdt_host::TunQueue) {
        let dial = self.dial().await;
        self.establish(dial.attempt, response);
        let ClientCommand::AttachTun(queue) = self.command().await else {
            panic!("the device comes first");
        };
        assert!(matches!(self.command().await, ClientCommand::Adopt(id) if id == dial.attempt));
        (dial.attempt, queue)
    }

    fn stop(&mut self) {
        let stop = self.stop.take().expect("stopped once");
        stop.send(()).expect("the driver runs");
    }
}

fn answer() -> ConnectResponse {
    ConnectResponse {
        version: 1,
        session_id: SessionId(7),
        server_nonce: "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        mtu: 1350,
        client_ip: "10.8.0.2".to_owned(),
        gateway_ip: "10.8.0.1".to_owned(),
        cidr: "10.8.0.0/24".to_owned(),
        dns: vec!["9.9.9.9".to_owned()],
        caps: Some(Vec::new()),
        resume: Some("ticket".to_owned()),
    }
}

fn found() -> Resolver {
    Arc::new(|_| Ok(vec![SocketAddr::from(([192, 0, 2, 1], 443))]))
}

/// A host in memory with its own links and name servers.
#[derive(Clone, Debug)]
struct Parts<L, D> {
    host: MemoryHost,
    links: L,
    dns: D,
}

impl<L, D> Host for Parts<L, D>
where
    L: Links + Clone + Debug + 'static,
    D: Dns + Clone + Debug + 'static,
{
    type Tun = MemoryHost;
    type Links = L;
    type Network = MemoryHost;
    type Routes = MemoryHost;
    type Dns = D;
    type Firewall = MemoryHost;
    type Conntrack = MemoryHost;
    type Watch = MemoryWatch;
    type Owner = ();

    fn tun(&self) -> &MemoryHost {
        &self.host
    }

    fn links(&self) -> &L {
        &self.links
    }

    fn network(&self) -> &MemoryHost {
        &self.host
    }

    fn routes(&self) -> &MemoryHost {
        &self.host
    }

    fn dns(&self) -> &D {
        &self.dns
    }

    fn firewall(&self) -> &MemoryHost {
        &self.host
    }

    fn conntrack(&self) -> MemoryHost {
        self.host.clone()
    }

    fn watch(&self) -> MemoryWatch {
        self.host.watch()
    }

    fn outside(&self, tun: &str) -> Outside {
        self.host.outside(tun)
    }

    fn claim(&self, tun: &str) -> Result<((), Option<OwnerWarning>), OwnerError> {
        self.host.claim(tun)
    }
}

/// Drives a tunnel on `host` against the script `play`; returns the outcome and the log.
async fn driven<P: Future<Output = ()>>(
    host: &MemoryHost,
    resolver: Resolver,
    play: impl FnOnce(Worker) -> P,
) -> (Outcome, String) {
    driven_with(host.clone(), host.clone(), host, resolver, play).await
}

/// Runs like [`driven`], with other links and name servers than `host`'s.
async fn driven_with<P: Future<Output = ()>>(
    links: impl Links + Clone + Debug + 'static,
    dns: impl Dns + Clone + Debug + 'static,
    host: &MemoryHost,
    resolver: Resolver,
    play: impl FnOnce(Worker) -> P,
) -> (Outcome, String) {
    let (sender, commands) = unbounded_channel();
    let (events, reports) = unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let worker = Worker {
        commands,
        events,
        stop: Some(stop),
    };
    let settings = Settings {
        timeout: Duration::from_secs(10),
        host: HostSettings {
            tun: "qdt0".to_owned(),
            route_mode: RouteMode::Default,
            dns: Vec::new(),
        },
    };
    let parts = Parts {
        host: host.clone(),
        links,
        dns,
    };
    let on = TunnelHost::new("qdt0", parts);
    let stopped = async move {
        if stopped.await.is_err() {
            // The script ended without a signal: the tunnel has to exit by itself.
            std::future::pending::<()>().await;
        }
    };
    let log = Arc::new(Mutex::new(String::new()));
    let lines = Arc::clone(&log);
    let logger = Logger::new(LogConfig::default(), move |line: &str| {
        lines.lock().expect("no writer panics").push_str(line);
    });
    let _guard = tracing::subscriber::set_default(logger);
    let tunnel = drive(
        Tunnel::new(settings, 1),
        sender,
        reports,
        on,
        resolver,
        stopped,
    );
    let (outcome, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(tunnel, play(worker)) })
            .await
            .expect("tunnel and script end");
    let log = log.lock().expect("no writer panics").clone();
    (outcome, log)
}

#[tokio::test(start_paused = true)]
async fn the_host_is_changed_in_order_after_the_first_success_and_restored_in_order() {
    let host = MemoryHost::new();
    let (outcome, _) = driven(&host, found(), async |mut worker| {
        let (_, _queue) = worker.connect(answer()).await;
        worker.stop();
        assert!(matches!(worker.command().await, ClientCommand::Stop));
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    let calls = host.take_calls();
    let names: Vec<&str> = calls.iter().map(Call::name).collect();
    assert_eq!(
        names,
        [
            "remove_leftover_routes",
            "restore_leftover_dns",
            "open_tun",
            "set_address",
            "set_mtu",
            "set_up",
            "install_routes",
            "install_dns",
            "remove_dns",
            "remove_routes",
        ]
    );
    let interface = "qdt0".to_owned();
    let address = "10.8.0.2/32".parse().unwrap();
    assert_eq!(calls[3], Call::SetAddress(interface.clone(), address));
    assert_eq!(calls[4], Call::SetMtu(interface, 1312));
    let Call::InstallRoutes(plan) = &calls[6] else {
        panic!("{calls:?}")
    };
    assert_eq!(plan.network.to_string(), "10.8.0.0/24");
    assert_eq!(plan.mode, qdt_host::RouteMode::Default);
    let state = host.state();
    assert!(state.routes.is_empty() && state.dns.is_empty(), "{state:?}");
}

#[tokio::test(start_paused = true)]
async fn leftovers_of_a_killed_run_are_removed_before_anything_is_dialled() {
    let host = MemoryHost::new();
    host.change(|state| {
        state.dns.insert(
            "qdt0".to_owned(),
            vec!["9.9.9.9".parse().expect("an address")],
        );
    });
    let (outcome, _) = driven(&host, found(), async |mut worker| {
        worker.dial().await;
        assert!(host.state().dns.is_empty());
        worker.stop();
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_token_ends_the_client_and_leaves_the_host_alone() {
    let host = MemoryHost::new();
    let (outcome, _) = driven(&host, found(), async |mut worker| {
        let attempt = worker.dial().await.attempt;
        let body = "unauthorized\n".to_owned();
        worker.report(ClientEvent::Refused {
            attempt,
            status: 401,
            body,
        });
        assert!(matches!(worker.command().await, ClientCommand::Stop));
    })
    .await;
    let Outcome::Failed(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        error.to_string(),
        "connect failed: 401 Unauthorized (unauthorized\n)"
    );
    assert_eq!(
        host.take_calls().len(),
        2,
        "only the leftovers were asked for"
    );
}

#[tokio::test(start_paused = true)]
async fn device_routes_and_name_servers_stay_while_the_connection_is_replaced() {
    let host = MemoryHost::new();
    driven(&host, found(), async |mut worker| {
        let (first, _queue) = worker.connect(answer()).await;
        worker.report(ClientEvent::Closed {
            attempt: first,
            reason: "reset".to_owned(),
        });
        let second = worker.dial().await;
        let before = host.state();
        assert!(before.routes.contains_key("qdt0") && before.dns.contains_key("qdt0"));
        let _ = host.take_calls();
        worker.establish(second.attempt, answer());
        assert!(matches!(worker.command().await, ClientCommand::Adopt(id) if id == second.attempt));
        assert_eq!(host.take_calls(), []);
        assert_eq!(host.state(), before);
        worker.stop();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn another_address_is_given_to_the_same_device() {
    let host = MemoryHost::new();
    driven(&host, found(), async |mut worker| {
        let (first, _queue) = worker.connect(answer()).await;
        worker.report(ClientEvent::Closed {
            attempt: first,
            reason: "reset".to_owned(),
        });
        let second = worker.dial().await;
        let _ = host.take_calls();
        let other = ConnectResponse {
            client_ip: "10.8.0.9".to_owned(),
            ..answer()
        };
        worker.establish(second.attempt, other);
        assert!(matches!(worker.command().await, ClientCommand::Adopt(_)));
        let names: Vec<&str> = host.take_calls().iter().map(Call::name).collect();
        assert_eq!(
            names,
            ["set_address", "set_mtu", "set_up", "install_routes"]
        );
        assert_eq!(
            host.state().links["qdt0"].address,
            Some("10.8.0.9/32".parse().expect("net"))
        );
        worker.stop();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn name_servers_that_cannot_be_set_are_logged_and_the_tunnel_stays_up() {
    let host = MemoryHost::new();
    host.fail_next("install_dns");
    let (outcome, log) = driven(&host, found(), async |mut worker| {
        let (first, _queue) = worker.connect(answer()).await;
        worker.report(ClientEvent::Closed {
            attempt: first,
            reason: "reset".to_owned(),
        });
        worker.dial().await;
        worker.stop();
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    assert!(
        log.contains("level=ERROR msg=\"set dns failed\" err="),
        "{log}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_is_not_an_address_reaches_the_log_and_not_the_host() {
    let host = MemoryHost::new();
    let (_, log) = driven(&host, found(), async |mut worker| {
        let hostile = ConnectResponse {
            dns: vec!["--flag".to_owned()],
            ..answer()
        };
        worker.connect(hostile).await;
        worker.stop();
    })
    .await;
    assert!(
        log.contains("msg=\"set dns failed\"") && log.contains("--flag"),
        "{log}"
    );
    assert!(
        !host
            .take_calls()
            .iter()
            .any(|call| call.name() == "install_dns")
    );
}

#[tokio::test(start_paused = true)]
async fn routes_that_cannot_be_set_end_the_client_with_the_host_restored() {
    let host = MemoryHost::new();
    host.fail_next("install_routes");
    let (outcome, _) = driven(&host, found(), async |mut worker| {
        let (_, _queue) = worker.connect(answer()).await;
        assert!(matches!(worker.command().await, ClientCommand::Stop));
    })
    .await;
    let Outcome::Failed(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.to_string().contains("permission denied"), "{error}");
    let calls = host.take_calls();
    assert!(
        !calls.iter().any(|call| call.name() == "install_dns"),
        "{calls:?}"
    );
    assert_eq!(calls.last().map(Call::name), Some("remove_routes"));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_cannot_be_opened_ends_the_client_before_any_route() {
    let host = MemoryHost::new();
    host.fail_next("open_tun");
    let (outcome, _) = driven(&host, found(), async |mut worker| {
        let attempt = worker.dial().await.attempt;
        worker.establish(attempt, answer());
        assert!(
            matches!(worker.command().await, ClientCommand::Stop),
            "nothing was adopted"
        );
    })
    .await;
    let Outcome::Failed(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    assert!(
        !host
            .take_calls()
            .iter()
            .any(|call| call.name() == "install_routes")
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_cleaned_up_is_logged_and_the_client_still_exits_with_0() {
    let host = MemoryHost::new();
    let (outcome, log) = driven(&host, found(), async |mut worker| {
        worker.connect(answer()).await;
        host.fail_next("remove_dns");
        host.fail_next("remove_routes");
        worker.stop();
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    assert!(log.contains("msg=\"dns cleanup failed\" err="), "{log}");
    assert!(log.contains("msg=\"route cleanup failed\" err="), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_packet_worker_that_broke_ends_the_client() {
    let host = MemoryHost::new();
    let (outcome, _) = driven(&host, found(), async |mut worker| {
        worker.connect(answer()).await;
        worker.report(ClientEvent::Broken {
            error: "poll: too many open files".to_owned(),
        });
        assert!(matches!(worker.command().await, ClientCommand::Stop));
    })
    .await;
    let Outcome::Failed(error) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error.to_string(), "poll: too many open files");
    assert!(host.state().routes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_packet_worker_that_is_gone_ends_the_client() {
    let host = MemoryHost::new();
    let (outcome, _) = driven(&host, found(), async |worker| drop(worker)).await;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_resolved_is_resolved_again() {
    let host = MemoryHost::new();
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let resolver: Resolver = Arc::new(move |_| {
        let mut asked = count.lock().expect("no look-up panics");
        *asked += 1;
        if *asked < 3 {
            Err(Cause::new("no such host"))
        } else {
            found()(None)
        }
    });
    let (outcome, log) = driven(&host, resolver, async |mut worker| {
        worker.dial().await;
        worker.stop();
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    assert_eq!(*asked.lock().expect("no look-up panics"), 3);
    assert!(
        log.contains("msg=\"connect failed\" err=\"no such host\""),
        "{log}"
    );
}

#[tokio::test(start_paused = true)]
async fn once_the_tunnel_exists_names_are_resolved_by_the_name_servers_outside_it() {
    let host = MemoryHost::new();
    let resolvers = HostResolvers {
        servers: vec![SocketAddr::from(([192, 168, 1, 1], 53))],
        ..HostResolvers::default()
    };
    host.change(|state| state.resolvers = resolvers.clone());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&asked);
    let resolver: Resolver = Arc::new(move |outside| {
        given.lock().expect("no look-up panics").push(outside);
        match given.lock().expect("no look-up panics").len() {
            1 => found()(None),
            _ => Err(Cause::new("no answer")),
        }
    });
    let (_, log) = driven(&host, resolver, async |mut worker| {
        let (first, _queue) = worker.connect(answer()).await;
        worker.report(ClientEvent::Closed {
            attempt: first,
            reason: "reset".to_owned(),
        });
        while asked.lock().expect("no look-up panics").len() < 4 {
            worker.dial().await;
        }
        worker.stop();
    })
    .await;
    let asked = asked.lock().expect("no look-up panics").clone();
    assert_eq!(asked[0], None);
    assert!(asked[1..].iter().all(|one| *one == Some(resolvers.clone())));
    let line = "level=WARN msg=\"look-up failed\" err=\"no answer\"";
    assert_eq!(log.matches(line).count(), 1, "{log}");
}

#[tokio::test(start_paused = true)]
async fn the_log_names_no_token_no_ticket_and_no_address_at_level_info() {
    let host = MemoryHost::new();
    let (_, log) = driven(&host, found(), async |mut worker| {
        let (first, _queue) = worker.connect(answer()).await;
        worker.report(ClientEvent::Suspect { attempt: first });
        let second = worker.dial().await;
        worker.establish(second.attempt, answer());
        assert!(matches!(worker.command().await, ClientCommand::Adopt(_)));
        worker.stop();
    })
    .await;
    assert!(log.contains("msg=connected"), "{log}");
    for secret in ["ticket", "10.8.0", "192.0.2.1"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_other_programs_remove_is_restored_with_one_line_that_names_it() {
    let host = MemoryHost::new();
    let (outcome, log) = driven(&host, found(), async |mut worker| {
        let (_, _queue) = worker.connect(answer()).await;
        wait_for_name_servers(&host).await;
        let _ = host.take_calls();
        let before = host.state();
        host.change(|state| {
            state.routes.clear();
            let link = state.links.get_mut("qdt0").expect("the device");
            (link.up, link.mtu, link.address) = (false, Some(1500), None);
        });
        until(|| host.state() == before).await;
        let names: Vec<&str> = host.take_calls().iter().map(Call::name).collect();
        assert_eq!(
            names,
            ["set_address", "set_mtu", "set_up", "restore_routes"]
        );
        // Nothing is missing: nothing changes.
        host.change(|_| {});
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(host.take_calls(), []);
        worker.stop();
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    let line = "level=WARN msg=\"another program changed the tunnel's device or routes; they are \
                put back\" restored=\"address of qdt0, mtu 1312 (was 1500), qdt0 up (was down), \
                routes\"";
    assert_eq!(log.matches(line).count(), 1, "{log}");
}

#[tokio::test(start_paused = true)]
async fn an_overlap_that_comes_and_goes_is_one_line_each_and_no_repair() {
    let host = MemoryHost::new();
    let other = "10.8.0.0/16".parse().expect("a network");
    let overlap = RouteWarning::Overlap {
        network: "10.8.0.0/24".parse().expect("a network"),
        other,
        interface: "docker0".to_owned(),
    };
    let (_, log) = driven(&host, found(), async |mut worker| {
        let (_, _queue) = worker.connect(answer()).await;
        wait_for_name_servers(&host).await;
        // More often than the limit of repairs within a minute.
        for _ in 0..30 {
            host.change(|state| {
                state.route_warnings = vec![overlap.clone()];
                state.missing_exemptions = vec![other];
            });
            until(|| host.state().missing_exemptions.is_empty()).await;
            host.change(|_| {});
            tokio::time::sleep(Duration::from_secs(1)).await;
            host.change(|state| state.route_warnings.clear());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Another program removes the rule of a known network.
        host.change(|state| state.route_warnings = vec![overlap.clone()]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        host.change(|state| state.missing_exemptions = vec![other]);
        until(|| host.state().missing_exemptions.is_empty()).await;
        worker.stop();
    })
    .await;
    let came = format!("level=WARN msg=routes err=\"{overlap}\"");
    assert_eq!(log.matches(&came).count(), 31, "{log}");
    let left = format!("level=INFO msg=\"routes: this is no longer so\" was=\"{overlap}\"");
    assert_eq!(log.matches(&left).count(), 30, "{log}");
    let removed = "restored=\"rule that spares 10.8.0.0/16\"";
    assert_eq!(log.matches("they are put back").count(), 1, "{log}");
    assert!(log.contains(removed), "{log}");
}

#[tokio::test(start_paused = true)]
async fn before_the_first_success_nothing_is_restored() {
    let host = MemoryHost::new();
    driven(&host, found(), async |mut worker| {
        worker.dial().await;
        let _ = host.take_calls();
        host.change(|_| {});
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(host.take_calls(), []);
        worker.stop();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn routes_removed_again_and_again_get_twenty_repairs_a_minute_and_an_error() {
    let host = MemoryHost::new();
    let (_, log) = driven(&host, found(), async |mut worker| {
        let (_, _queue) = worker.connect(answer()).await;
        wait_for_name_servers(&host).await;
        for _ in 0..20 {
            host.change(|state| state.routes.clear());
            until(|| !host.state().routes.is_empty()).await;
        }
        let _ = host.take_calls();
        for _ in 0..5 {
            host.change(|state| state.routes.clear());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(host.take_calls(), []);
        tokio::time::sleep(Duration::from_secs(60)).await;
        host.announce(qdt_host::Changes::ALL);
        until(|| !host.state().routes.is_empty()).await;
        worker.stop();
    })
    .await;
    assert_eq!(log.matches("they are put back").count(), 21, "{log}");
    assert_eq!(log.matches("level=ERROR").count(), 1, "{log}");
    assert!(log.contains("put back 20 times within a minute"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_fails_is_logged_once_and_tried_again() {
    let host = MemoryHost::new();
    let (outcome, log) = driven(&host, found(), async |mut worker| {
        let (_, _queue) = worker.connect(answer()).await;
        wait_for_name_servers(&host).await;
        for _ in 0..3 {
            host.fail_next("restore_routes");
        }
        host.change(|state| state.routes.clear());
        until(|| {
            host.announce(qdt_host::Changes::ALL);
            !host.state().routes.is_empty()
        })
        .await;
        worker.stop();
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    assert_eq!(log.matches("level=ERROR").count(), 1, "{log}");
    assert!(
        log.contains("msg=\"cannot put back the tunnel's device or routes\""),
        "{log}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_deleted_ends_the_client_also_while_it_reconnects() {
    let host = MemoryHost::new();
    let (outcome, _) = driven(&host, found(), async |mut worker| {
        let (first, _queue) = worker.connect(answer()).await;
        worker.report(ClientEvent::Closed {
            attempt: first,
            reason: "reset".to_owned(),
        });
        worker.dial().await;
        host.change(|state| state.links.clear());
        while !matches!(worker.command().await, ClientCommand::Stop) {}
    })
    .await;
    let Outcome::Failed(error) = outcome else {
        panic!("{outcome:?}")
    };
    let text = error.to_string();
    assert!(
        text.starts_with("interface `qdt0` does not exist: another program deleted it"),
        "{text}"
    );
}

/// Name servers of a host whose resolver service hangs: selected calls never end.
#[derive(Clone, Debug)]
struct HangingDns {
    host: MemoryHost,
    installs: bool,
    checks: bool,
}

impl Dns for HangingDns {
    async fn install(&self, plan: &DnsPlan) -> Result<(), DnsError> {
        Dns::install(&self.host, plan).await?;
        if self.installs {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn remove(&self, tun: &str) -> Result<(), DnsError> {
        Dns::remove(&self.host, tun).await
    }

    async fn restore_leftovers(&self, tun: &str) -> Result<(), DnsError> {
        self.host.restore_leftovers(tun).await
    }

    async fn check_and_repair(&self, plan: &DnsPlan) -> Result<Option<DnsRepair>, DnsError> {
        if self.checks {
            std::future::pending::<()>().await;
        }
        self.host.check_and_repair(plan).await
    }

    fn host_resolvers(&self) -> HostResolvers {
        self.host.host_resolvers()
    }
}

/// Ends the connection `first`, which is replaced, and then the client, both without delay.
async fn dials_and_stops_soon(worker: &mut Worker, first: AttemptId) {
    let began = Instant::now();
    worker.report(ClientEvent::Closed {
        attempt: first,
        reason: "reset".to_owned(),
    });
    worker.dial().await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let began = Instant::now();
    worker.stop();
    while !matches!(worker.command().await, ClientCommand::Stop) {}
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_check_of_the_name_servers_that_hangs_delays_no_repair_no_dial_and_no_stop() {
    let host = MemoryHost::new();
    let dns = HangingDns {
        host: host.clone(),
        installs: false,
        checks: true,
    };
    let (outcome, log) = driven_with(host.clone(), dns, &host, found(), async |mut worker| {
        let (first, _queue) = worker.connect(answer()).await;
        wait_for_name_servers(&host).await;
        // Each of them starts a check, or finds one in flight.
        for _ in 0..30 {
            let began = Instant::now();
            host.change(|state| state.routes.clear());
            until(|| !host.state().routes.is_empty()).await;
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        host.change(|state| state.routes.clear());
        until(|| !host.state().routes.is_empty()).await;
        dials_and_stops_soon(&mut worker, first).await;
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    assert!(host.state().dns.is_empty() && host.state().routes.is_empty());
    assert_eq!(log.matches("msg=\"set dns failed\"").count(), 1, "{log}");
}

#[tokio::test(start_paused = true)]
async fn an_installation_of_name_servers_that_hangs_delays_neither_the_tunnel_nor_a_stop() {
    let host = MemoryHost::new();
    let dns = HangingDns {
        host: host.clone(),
        installs: true,
        checks: false,
    };
    let (outcome, _) = driven_with(host.clone(), dns, &host, found(), async |mut worker| {
        let (first, _queue) = worker.connect(answer()).await;
        dials_and_stops_soon(&mut worker, first).await;
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    assert!(host.state().dns.is_empty(), "restored");
}

/// Links whose state query never ends, as with a helper that hangs.
#[derive(Clone, Debug)]
struct HangingLinks(MemoryHost);

impl Links for HangingLinks {
    async fn set_address(&self, interface: &str, address: IpNet) -> Result<(), LinkError> {
        self.0.set_address(interface, address).await
    }

    async fn set_mtu(&self, interface: &str, mtu: u32) -> Result<(), LinkError> {
        self.0.set_mtu(interface, mtu).await
    }

    async fn status(&self, _: &str) -> Result<LinkStatus, LinkError> {
        std::future::pending().await
    }

    async fn set_up(&self, interface: &str) -> Result<(), LinkError> {
        self.0.set_up(interface).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_hangs_does_not_delay_a_stop() {
    let host = MemoryHost::new();
    let links = HangingLinks(host.clone());
    let (outcome, _) = driven_with(links, host.clone(), &host, found(), async |mut worker| {
        let (_, _queue) = worker.connect(answer()).await;
        wait_for_name_servers(&host).await;
        host.change(|state| state.routes.clear());
        tokio::time::sleep(SOON).await;
        let began = Instant::now();
        worker.stop();
        while !matches!(worker.command().await, ClientCommand::Stop) {}
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    })
    .await;
    assert_eq!(outcome, Outcome::Signal);
    assert!(host.state().dns.is_empty() && host.state().routes.is_empty());
}

/// Waits for the name servers, the last part of the set-up.
async fn wait_for_name_servers(host: &MemoryHost) {
    until(|| host.state().dns.contains_key("qdt0")).await;
}

/// Lets virtual time pass until `reached`.
async fn until(mut reached: impl FnMut() -> bool) {
    let wait = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("it comes in time");
}
