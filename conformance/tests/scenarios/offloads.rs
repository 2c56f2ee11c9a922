//! What the kernel does with datagrams in batches (GSO, GRO), and what becomes of it when strangers
//! or the network get in between.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use conformance::probe::udp_packet;
use conformance::{
    Bulk, Capture, Client, Config, Lab, Pinger, Process, RawIp, Server, forged,
    receive_queue_drained, session_lines, tcp_download, tcp_transfer, wait_until,
};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::{SECOND, pair};

/// Datagrams in each send of the server while it sends the next 20,000.
fn datagrams_per_send(server: &Server<'_>) -> f64 {
    let counted = || {
        let metrics = server.metrics();
        ["datagrams", "trains"]
            .map(|what| metrics.value(&format!("qdt_udp_{what}_total{{direction=\"out\"}}")))
    };
    let before = counted();
    wait_until("20,000 more datagrams are sent", 60 * SECOND, || {
        counted()[0] >= before[0] + 20_000.0
    });
    let after = counted();
    (after[0] - before[0]) / (after[1] - before[1])
}

/// 5 MB up and 5 MB down, whole.
#[track_caller]
fn transfer_both_ways(lab: &Lab, client: &Client<'_>) {
    for transfer in [tcp_transfer, tcp_download] {
        let (near, far) = (client.machine(), &lab.server);
        transfer(near, far, Lab::GATEWAY, 5_000_000, 60 * SECOND);
    }
}

/// Workers of the server that send datagrams one by one.
fn without_segmentation(server: &Server<'_>) -> f64 {
    server.metrics().value("qdt_udp_gso_off")
}

/// How often the program said so.
fn lines(process: &Process, message: &str) -> usize {
    let log = process.stdout();
    log.lines().filter(|line| line.contains(message)).count()
}

const REFUSED: &str = "UDP segmentation offload refused";
const WORKS_AGAIN: &str = "UDP segmentation offload works again";

#[test]
fn a_hundred_packets_from_port_0_do_not_lower_the_datagrams_per_send() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server().set("send_workers", "2"));
    let client = Client::start(&lab.clients[0], Config::client());
    let inner = client.inner_address().expect("the tunnel is up");
    let _download = Bulk::start(&lab.server, client.machine(), inner, 1);
    let measured = || [(); 4].map(|()| datagrams_per_send(&server));
    // The first queue is longer than the later ones.
    let _ = measured();
    let before = measured();
    let least = before.into_iter().fold(f64::INFINITY, f64::min);
    assert!(least > 1.5, "{before:?} datagrams in a send");
    let sender = RawIp::open(&lab.core);
    let mut random = SmallRng::seed_from_u64(1);
    for n in 0..100_u8 {
        // A short header with an unused connection id, for the one worker and the other: what is
        // answered.
        let mut payload = [0; 90];
        random.fill_bytes(&mut payload);
        payload[0] = 0x40;
        payload[1] = n % 2;
        let from = (Lab::INTERNET, 0);
        sender
            .send(&udp_packet(from, (Lab::SERVER, 443), &payload))
            .expect("a raw socket sends");
    }
    receive_queue_drained(&lab.server, 443);
    let after = measured();
    // Without segmentation it is one, exactly.
    assert!(
        after
            .into_iter()
            .all(|after| after > 1.0 + (least - 1.0) / 4.0),
        "{after:?} datagrams in a send, {before:?} before"
    );
    let rejected = "qdt_udp_rejected_total{reason=\"port_zero\"}";
    assert_eq!(server.metrics().value(rejected), 100.0);
    assert_eq!(without_segmentation(&server), 0.0);
    assert_eq!(lines(&server, REFUSED), 0);
}

#[test]
fn no_packet_is_lost_while_the_kernel_refuses_segmented_sends_and_they_resume_afterwards() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server().set("send_workers", "2"));
    let client = Client::start(&lab.clients[0], Config::client());
    let inner = client.inner_address().expect("the tunnel is up");
    let pinger = Pinger::start(client.machine(), Lab::GATEWAY.into(), SECOND / 20);
    server.refuse_segmentation(true);
    client.refuse_segmentation(true);
    for _ in 0..2 {
        transfer_both_ways(&lab, &client);
    }
    assert_eq!(without_segmentation(&server), 1.0, "the client's worker");
    server.refuse_segmentation(false);
    client.refuse_segmentation(false);
    let both_ways = [
        Bulk::start(&lab.server, client.machine(), inner, 1),
        Bulk::start(client.machine(), &lab.server, Lab::GATEWAY, 1),
    ];
    wait_until("the server segments again", 20 * SECOND, || {
        without_segmentation(&server) == 0.0
    });
    assert!(datagrams_per_send(&server) > 1.5);
    for process in [&*server, &*client] {
        wait_until("the log says that it works", 60 * SECOND, || {
            lines(process, WORKS_AGAIN) == 1
        });
        assert_eq!(lines(process, REFUSED), 1, "{}", process.stdout());
    }
    drop(both_ways);
    let (sent, replies) = pinger.stop();
    let lost = sent.saturating_sub(replies.len());
    assert!(lost * 10 <= sent + 10, "{lost} of {sent} pings were lost");
    assert_eq!(session_lines(&server), (1, 0));
}

#[test]
fn the_tunnel_survives_a_device_whose_checksum_offload_is_switched_off_and_on() {
    let lab = Lab::new(1);
    let (server, client) = pair(&lab);
    for state in ["off", "on"] {
        // Kernels before 6.11 refuse segmented sends through such a device.
        lab.server.features("eth0", &format!("tx {state}"));
        lab.clients[0].features("eth0", &format!("tx {state}"));
        transfer_both_ways(&lab, &client);
    }
    let inner = client.inner_address().expect("the tunnel is up");
    let _download = Bulk::start(&lab.server, client.machine(), inner, 1);
    wait_until("the server segments", 20 * SECOND, || {
        without_segmentation(&server) == 0.0
    });
    assert!(datagrams_per_send(&server) > 1.5);
    assert_eq!(session_lines(&server), (1, 0));
}

#[test]
fn forged_packets_that_the_kernel_merges_with_a_clients_end_no_session_at_one_worker() {
    forged_packets_end_no_session(1);
}

#[test]
fn forged_packets_that_the_kernel_merges_with_a_clients_end_no_session_at_two_workers() {
    forged_packets_end_no_session(2);
}

#[test]
fn forged_packets_that_the_kernel_merges_with_a_clients_end_no_session_at_four_workers() {
    forged_packets_end_no_session(4);
}

/// 100,000 packets with a client's address and port and connection ids of every worker's, among
/// what it uploads.
#[track_caller]
fn forged_packets_end_no_session(workers: u8) {
    let lab = Lab::new(1);
    // A veth merges nothing of a neighbour that could have sent it in one.
    lab.core.features("srv", "tso off");
    lab.server.enable_gro("eth0");
    let config = Config::server().set("send_workers", &workers.to_string());
    let mut server = Server::start(&lab.server, config);
    let mut client = Client::start(&lab.clients[0], Config::client());
    let sessions = session_lines(&server);
    let upload = Upload::start(&client);
    let original = seen_on_the_way(&lab);
    // Further away than the neighbour of the server: what a machine sends itself is not merged with
    // what it forwards.
    let sender = RawIp::open(&lab.edge);
    let mut random = SmallRng::seed_from_u64(workers.into());
    let mut payload = vec![0; original.len() - 28];
    for n in 0..100_000_u32 {
        random.fill_bytes(&mut payload);
        // A long header, version 1, an id of 8 bytes that names each worker in turn.
        payload[..6].copy_from_slice(&[0xe0, 0, 0, 0, 1, 8]);
        payload[6] = n as u8;
        let _ = sender.send(&forged(&original, &payload));
        // No faster than the server reads: what its socket drops is not an attack.
        if n % 500 == 499 {
            receive_queue_drained(&lab.server, 443);
        }
    }
    let uploaded = || {
        server
            .metrics()
            .value("qdt_packets_total{direction=\"in\"}")
    };
    let before = uploaded();
    wait_until("the upload goes on", 30 * SECOND, || {
        uploaded() > before + 1_000.0
    });
    drop(upload);
    assert_eq!(session_lines(&server), sessions, "{}", server.stdout());
    assert_eq!(lines(&client, "connection lost"), 0, "{}", client.stdout());
    let metrics = server.metrics();
    let handed_over = metrics.value("qdt_udp_handed_over_total");
    assert_eq!(handed_over > 0.0, workers > 1, "{handed_over} were merged");
    let refused = metrics.value("qdt_udp_rejected_total{reason=\"queue_full\"}");
    assert!(
        refused * 2.0 <= handed_over,
        "{refused} did not fit, {handed_over} did"
    );
    assert_eq!((server.ended(), client.ended()), (None, None));
}

/// A client's upload of some 50 Mbit/s in packets that leave one by one: each is the first of a
/// batch, and the kernel merges it with what came before.
struct Upload {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upload {
    fn start(client: &Client<'_>) -> Self {
        let socket = client
            .machine()
            .enter(|| UdpSocket::bind("0.0.0.0:0"))
            .expect("a UDP socket");
        socket.connect((Lab::GATEWAY, 9)).expect("a route");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Refused now and then because that port is closed.
                let _ = socket.send(&[0x5a; 1_200]);
                std::thread::sleep(Duration::from_micros(150));
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The largest datagram of a second of upload: the kernel merges what follows if it is not larger.
fn seen_on_the_way(lab: &Lab) -> Vec<u8> {
    let left = AtomicUsize::new(5_000);
    let tap = Capture::start(&lab.core, "mid", move |captured| {
        let packet = &captured.packet;
        !captured.outgoing
            && (1_000..1_500).contains(&packet.len())
            && packet[9] == 17
            && left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
    });
    let start = Instant::now();
    wait_until("the client uploads", 30 * SECOND, || {
        tap.packets().len() >= 500 && start.elapsed() > SECOND
    });
    let packets = tap.packets().into_iter().map(|captured| captured.packet);
    packets.max_by_key(Vec::len).expect("there are some")
}
