//! Very many sessions at one server: what each of them costs it in memory and processor time, how
//! fast they are made, and whether those that are busy share the link.
//!
//! Invariants: the server is the finished program with its defaults; all clients live in
//! this process and speak the whole protocol; every figure is the server's own use, read from the
//! kernel's books.

mod carried;
mod figures;
mod flows;
mod options;
mod report;
mod server;
mod sharing;
mod simulated;
mod usage;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cpu::CpuReading;
use crate::tcp::Direction;
use crate::veth_link::VethLink;
use crate::{note, say};
use carried::Carried;
use figures::{Idle, Traffic};
use flows::{Load, carry};
use options::Options;
use report::Report;
use server::Server;
use sharing::{Link, Sharing};
use simulated::SimulatedClients;

/// Between the last handshake and the first look at idle sessions: what was delayed
/// (acknowledgements, timers of the handshake) is over by then.
const SETTLE: Duration = Duration::from_secs(5);
/// How long a lone stream runs before anything is counted; what many need until they share is an
/// option.
const LONE_WARM_UP: Duration = Duration::from_secs(1);

/// Measures and prints the table and the JSON document.
///
/// # Errors
/// When nothing can be measured.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    if options.help {
        say(options::HELP);
        return Ok(ExitCode::SUCCESS);
    }
    conformance::check_requirements();
    let veth = VethLink::lay()?;
    let server = Server::start(&veth)?;
    let simulated = SimulatedClients::new(&veth)?;
    let mut bench = Bench {
        veth: &veth,
        server,
        simulated,
        options: &options,
    };
    let report = bench.measure()?;
    say(&report.table());
    crate::conclude(report.json()?, options.json.as_deref(), report.holds())
}

struct Bench<'a> {
    veth: &'a VethLink,
    server: Server<'a>,
    simulated: SimulatedClients,
    options: &'a Options,
}

const WAYS: [(&str, Direction); 2] = [("up", Direction::Up), ("down", Direction::Down)];

impl Bench<'_> {
    fn measure(&mut self) -> Result<Report> {
        let mut report = Report::new(self.options);
        // What the server allocates once, for whatever it is asked first, belongs to no session.
        self.simulated.open(1)?;
        self.simulated.open_device(self.veth)?;
        let first = self.first_address()?;
        let alone = [Sharing::one_session(first, 1)];
        report.traffic(self.compare(Link::Open, &alone)?);
        self.rest(SETTLE)?;
        let memory = self.server.resident_bytes()?;
        for (place, &count) in self.options.sessions.iter().enumerate() {
            report.idle(self.idle(count, memory)?);
            if place == 0 && self.options.rounds > 0 {
                for link in self.options.links() {
                    let _laid = link.lay(self.veth);
                    report.traffic(self.compare(link, &self.sharing(first))?);
                }
            }
        }
        report.traffic(self.compare(Link::Open, &alone)?);
        Ok(report)
    }

    fn first_address(&self) -> Result<Ipv4Addr> {
        let first = self.simulated.addresses().next();
        first.context("no session was opened")
    }

    /// The sets that are compared, beginning with the one that the others are held against.
    fn sharing(&self, first: Ipv4Addr) -> [Sharing; 4] {
        let active = self.options.active;
        [
            Sharing::one_session(first, 1),
            Sharing::a_stream_each(self.simulated.addresses().take(active).collect()),
            Sharing::one_session(first, active),
            Sharing::no_tunnel(active),
        ]
    }

    /// Makes sessions until there are `count`, and watches them while nothing happens.
    fn idle(&mut self, count: usize, alone: u64) -> Result<Idle> {
        note(&format!("{count} sessions: handshakes"));
        let handshakes = count - self.simulated.addresses().count();
        let before = (Instant::now(), self.server.processor_time()?);
        self.simulated.open(count)?;
        let made_in = before.0.elapsed();
        let made_with = self.server.processor_time()? - before.1;
        self.rest(SETTLE)?;

        note(&format!("{count} sessions: {} s idle", self.options.idle));
        let pids = [self.server.pid()];
        let (start, machine) = (Instant::now(), CpuReading::take(&pids)?);
        let before = self.server.processor_time()?;
        self.rest(Duration::from_secs(self.options.idle))?;
        let used = (self.server.processor_time()? - before).as_secs_f64();
        let share = used / start.elapsed().as_secs_f64();
        let resident = self.server.resident_bytes()?;
        let others = count.saturating_sub(1).max(1) as f64;
        Ok(Idle {
            sessions: count,
            handshakes,
            handshakes_per_server_second: handshakes as f64 / made_with.as_secs_f64(),
            handshakes_per_second: handshakes as f64 / made_in.as_secs_f64(),
            resident_mib: resident as f64 / f64::from(1 << 20),
            resident_kib_per_session: (resident as f64 - alone as f64) / 1024.0 / others,
            idle_percent_of_core: share * 100.0,
            idle_millionths_per_session: share * 1e6 / count as f64,
            foreign: CpuReading::take(&pids)?.since(&machine).foreign,
        })
    }

    /// Lets the simulated clients do what idle clients do.
    fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        self.simulated.run(|| Instant::now() >= until)
    }

    /// Measures each set in each round, both ways.
    fn compare(&mut self, link: Link, sets: &[Sharing]) -> Result<Vec<(Traffic, Vec<Carried>)>> {
        let sessions = self.simulated.addresses().count();
        let mut found = vec![Vec::new(); sets.len() * WAYS.len()];
        for round in 0..self.options.rounds {
            for place in 0..sets.len() {
                // Each set is first once.
                let index = (place + round) % sets.len();
                for (way, (word, direction)) in WAYS.into_iter().enumerate() {
                    let set = &sets[index];
                    note(&format!(
                        "{sessions} sessions, link {link}, round {} of {}: {} {word}",
                        round + 1,
                        self.options.rounds,
                        set.name
                    ));
                    let load = Load {
                        set,
                        direction,
                        warm_up: match set.sources.len() {
                            1 => LONE_WARM_UP,
                            _ => Duration::from_secs(self.options.warm_up),
                        },
                        lasts: Duration::from_secs(self.options.seconds),
                    };
                    let carried = carry(&mut self.simulated, self.veth, &self.server, load)
                        .with_context(|| format!("{} {word}", set.name))?;
                    found[index * WAYS.len() + way].push(carried);
                }
            }
        }
        let described = found.into_iter().enumerate().filter_map(|(place, rounds)| {
            let (index, way) = (place / WAYS.len(), place % WAYS.len());
            let traffic = Traffic::of(&sets[index].name, link, sessions, WAYS[way].0, &rounds)?;
            Some((traffic, rounds))
        });
        Ok(described.collect())
    }
}
