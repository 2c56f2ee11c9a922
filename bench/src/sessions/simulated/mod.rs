//! Very many clients in one thread: real QUIC, real sessions, real packets, without a process for
//! each.
//!
//! The measurement drives the clients: they make progress only while one of the methods here runs.
//! Their own CPU time is left out of every figure, but they share the machine with the server.
//!
//! Invariants: a client that loses its connection or is refused ends the measurement; the earliest
//! deadline of every client is in the heap; a client is in `touched` exactly when it is marked so.

mod client;
mod device;
mod sockets;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use qdt_proto::datagram::OVERHEAD;
use qdt_proto::packet::{VnetHeader, ipv4_addresses};
use qdt_transport::simulation::{FairShare, dialling_config};
use qdt_transport::{ClientTls, ClientTrust, PacketSize};
use quinn_proto::{ClientConfig, DatagramEvent};
use rustix::event::{Timespec, epoll};

use super::server::{LISTENS, OUTSIDE};
use crate::veth_link::VethLink;
use client::{Client, MTU};
use device::Device;
pub(super) use device::NAME as DEVICE_NAME;
use sockets::{Port, ReceiveBuffers};

/// Sockets, each with an address of its own.
const PORTS: usize = 100;
/// Handshakes under way at a time: enough to keep a server busy, few enough that none waits for
/// long. Fewer than the unfinished connections after which a server wants addresses proven.
const AT_ONCE: usize = 24;
/// How long all of a step's handshakes may take.
const OPEN_WITHIN: Duration = Duration::from_secs(120);
/// Packets a send call at most, and their bytes.
const SEGMENTS: usize = 44;
const SEND_BYTES: usize = 65_507;
/// Receive calls of one socket in one turn.
const RECEIVES: usize = 4;
/// Bytes read from the TUN in one turn: some super-packets, or the acknowledgements of all clients,
/// which would be lost if they had to wait for as many turns as they are packets. They are read
/// after each socket, because the device holds no more than those of a real client.
const READ_BYTES: usize = 256 << 10;
/// How long a turn waits at most, so that the measurement regains control.
const TURN: Duration = Duration::from_millis(20);
/// The TUN's place among the things waited for.
const DEVICE: u64 = u64::MAX;

/// See the module.
pub(super) struct SimulatedClients {
    config: ClientConfig,
    ports: Vec<Port>,
    clients: Vec<Box<Client>>,
    opened: usize,
    by_address: HashMap<Ipv4Addr, usize>,
    deadlines: BinaryHeap<Reverse<(Instant, usize)>>,
    touched: VecDeque<usize>,
    /// Who takes how much of the device's queue: real clients have one each.
    shares: FairShare,
    device: Option<Device>,
    poller: OwnedFd,
    buffers: ReceiveBuffers,
    scratch: Vec<u8>,
}

impl SimulatedClients {
    /// Prepares sockets on the client machine; no client is connected yet.
    ///
    /// # Errors
    /// When the system is out of descriptors.
    pub(super) fn new(veth: &VethLink) -> Result<Self> {
        let machine = &veth.client;
        machine.ip(&format!("route add local {OUTSIDE} dev lo"));
        let tls = ClientTls::new(&ClientTrust::Anyone)?;
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let mut ports = Vec::with_capacity(PORTS);
        for number in 0..PORTS {
            let port = Port::bind(machine, Ipv4Addr::new(10, 99, 0, number as u8 + 1))?;
            let token = epoll::EventData::new_u64(number as u64);
            epoll::add(&poller, &port, token, epoll::EventFlags::IN).context("epoll")?;
            ports.push(port);
        }
        Ok(Self {
            config: dialling_config(&tls, PacketSize::Full.bytes(MTU, false)),
            ports,
            clients: Vec::new(),
            opened: 0,
            by_address: HashMap::new(),
            deadlines: BinaryHeap::new(),
            touched: VecDeque::new(),
            shares: FairShare::default(),
            device: None,
            poller,
            buffers: ReceiveBuffers::new(),
            scratch: Vec::with_capacity(SEND_BYTES),
        })
    }

    /// Opens the TUN device: from now on packets pass.
    ///
    /// # Errors
    /// When there is no TUN driver.
    pub(super) fn open_device(&mut self, veth: &VethLink) -> Result<()> {
        let device = Device::open(&veth.client, MTU - OVERHEAD as u16)?;
        let token = epoll::EventData::new_u64(DEVICE);
        epoll::add(&self.poller, &device, token, epoll::EventFlags::IN).context("epoll")?;
        self.device = Some(device);
        Ok(())
    }

    /// The inner addresses, in the order in which clients came.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.clients.iter().filter_map(|client| client.inner())
    }

    /// Opens connections until there are `count` sessions.
    ///
    /// # Errors
    /// When one is refused, or they do not all come in time.
    pub(super) fn open(&mut self, count: usize) -> Result<()> {
        let until = Instant::now() + OPEN_WITHIN;
        while self.opened < count {
            while self.clients.len() < count && self.clients.len() - self.opened < AT_ONCE {
                self.dial()?;
            }
            self.turn()?;
            anyhow::ensure!(
                Instant::now() < until,
                "{} of {count} sessions after {} s",
                self.opened,
                OPEN_WITHIN.as_secs()
            );
        }
        Ok(())
    }

    /// Drives the clients until `done` returns true.
    ///
    /// # Errors
    /// When a client is lost.
    pub(super) fn run(&mut self, mut done: impl FnMut() -> bool) -> Result<()> {
        while !done() {
            self.turn()?;
        }
        Ok(())
    }

    fn dial(&mut self) -> Result<()> {
        let index = self.clients.len();
        let number = index % PORTS;
        let port = &mut self.ports[number];
        let (handle, quic) =
            port.endpoint
                .connect(Instant::now(), self.config.clone(), LISTENS, "qdt.test")?;
        if port.owners.len() <= handle.0 {
            port.owners.resize(handle.0 + 1, usize::MAX);
        }
        port.owners[handle.0] = index;
        self.clients
            .push(Box::new(Client::new(number, handle, quic)));
        self.touch(index);
        Ok(())
    }

    fn touch(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if !client.touched {
            client.touched = true;
            self.touched.push_back(index);
        }
    }

    /// Waits for something and deals with it.
    fn turn(&mut self) -> Result<()> {
        if self.touched.is_empty() {
            self.wait()?;
        }
        let now = Instant::now();
        while let Some(Reverse((at, index))) = self.deadlines.peek().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            let client = &mut self.clients[index];
            if client.scheduled == Some(at) {
                client.scheduled = None;
                client.expire(now);
                self.touch(index);
            }
        }
        self.deliver(now)?;
        self.flush(now)?;
        if let Some(device) = &mut self.device {
            device.flush();
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let mut room = [MaybeUninit::uninit(); PORTS + 1];
        let due = self.deadlines.peek().map(|Reverse((at, _))| *at);
        let left = due.map_or(TURN, |at| {
            at.saturating_duration_since(Instant::now()).min(TURN)
        });
        let left = Timespec::try_from(left).context("a turn is short")?;
        let (ready, _) = match epoll::wait(&self.poller, &mut room[..], Some(&left)) {
            Err(rustix::io::Errno::INTR) => return Ok(()),
            ready => ready.context("epoll")?,
        };
        let now = Instant::now();
        let mut device_ready = false;
        let mut left = READ_BYTES;
        for event in ready.iter() {
            match event.data.u64() {
                DEVICE => device_ready = true,
                number => {
                    self.receive(now, number as usize)?;
                    // What the kernel answers is there at once.
                    if let Some(device) = &mut self.device
                        && device.flush()
                    {
                        self.read_device(now, &mut left)?;
                    }
                }
            }
        }
        if device_ready {
            self.read_device(now, &mut left)?;
        }
        Ok(())
    }

    fn receive(&mut self, now: Instant, number: usize) -> Result<()> {
        for _ in 0..RECEIVES {
            let mut batches = Vec::new();
            if !self.ports[number].receive(&mut self.buffers, |batch| batches.push(batch))? {
                break;
            }
            for mut batch in batches {
                while !batch.bytes.is_empty() {
                    let datagram = batch.bytes.split_to(batch.stride.min(batch.bytes.len()));
                    self.scratch.clear();
                    let port = &mut self.ports[number];
                    let found = port.endpoint.handle(
                        now,
                        batch.from,
                        None,
                        None,
                        datagram,
                        &mut self.scratch,
                    );
                    if let Some(DatagramEvent::ConnectionEvent(handle, event)) = found {
                        let index = port.owners[handle.0];
                        self.clients[index].quic.handle_event(event);
                        self.touch(index);
                    }
                }
            }
            self.deliver(now)?;
        }
        Ok(())
    }

    fn read_device(&mut self, now: Instant, left: &mut usize) -> Result<()> {
        while *left > 0 {
            let Some(device) = &mut self.device else {
                return Ok(());
            };
            let Some(len) = device.read()? else {
                self.shares.queue_read(now, true);
                return Ok(());
            };
            *left = left.saturating_sub(len);
            let read = &mut device.buffer[..len];
            let header = if device.has_vnet_header {
                VnetHeader::LEN
            } else {
                0
            };
            let source = read
                .get(header..)
                .and_then(ipv4_addresses)
                .map(|found| found.source);
            // A packet that is not a client's (the kernel's own multicast) is dropped.
            if let Some(&index) = source.and_then(|source| self.by_address.get(&source)) {
                let client = &mut self.clients[index];
                let is_over_share = self.shares.over_share(&mut client.share, len).is_some();
                client.send_read(read, device.has_vnet_header, is_over_share);
                self.touch(index);
            }
        }
        self.shares.queue_read(now, false);
        Ok(())
    }

    /// Lets every touched client look at what has come.
    fn deliver(&mut self, now: Instant) -> Result<()> {
        for place in 0..self.touched.len() {
            let index = self.touched[place];
            let client = &mut self.clients[index];
            // The golden ratio spreads any number of clients evenly.
            let share = (index as f64 * 0.618_033_988_75).fract();
            if client.events(now, share)? {
                self.opened += 1;
                let address = client.inner().context("an open client has an address")?;
                self.by_address.insert(address, index);
            }
            client.receive(now, &mut self.device);
        }
        Ok(())
    }

    /// Sends what every touched client has to send.
    fn flush(&mut self, now: Instant) -> Result<()> {
        while let Some(index) = self.touched.pop_front() {
            let client = &mut self.clients[index];
            let port = &mut self.ports[client.port];
            client.touched = false;
            while let Some(event) = client.quic.poll_endpoint_events() {
                if let Some(reply) = port.endpoint.handle_event(client.handle, event) {
                    client.quic.handle_event(reply);
                }
            }
            let most = SEGMENTS
                .min(port.max_segments())
                .min(SEND_BYTES / usize::from(client.quic.current_mtu()));
            loop {
                self.scratch.clear();
                let Some(transmit) = client.quic.poll_transmit(now, most, &mut self.scratch) else {
                    break;
                };
                port.send(&transmit, &self.scratch)?;
            }
            let next = client.deadline();
            if let Some(at) = next
                && client.scheduled.is_none_or(|scheduled| at < scheduled)
            {
                client.scheduled = Some(at);
                self.deadlines.push(Reverse((at, index)));
            }
        }
        Ok(())
    }
}
