//! Very many sessions at one server: what each of them costs it in memory and processor time, how fast they are
//! made, and whether those that are busy share the link.
//!
//! What always holds: the server is the finished program with its defaults; all clients live in this process
//! and speak the whole protocol; every figure is the server's own use, read from the kernel's books.

mod crowd;
mod figures;
mod flows;
mod options;
mod report;
mod server;
mod usage;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::cable::Cable;
use crate::cpu::CpuReading;
use crate::tcp::Direction;
use crate::{note, say};
use crowd::Crowd;
use figures::{Idle, Traffic};
use flows::{Carried, Load, carry};
use options::Options;
use report::Report;
use server::Server;

/// Between the last handshake and the first look at idle sessions: what was delayed (acknowledgements, timers of the
/// handshake) is over by then.
const SETTLE: Duration = Duration::from_secs(5);

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
    let cable = Cable::lay()?;
    let server = Server::start(&cable)?;
    let crowd = Crowd::new(&cable)?;
    let mut bench = Bench {
        cable: &cable,
        server,
        crowd,
        options: &options,
    };
    let report = bench.measure()?;
    say(&report.table());
    crate::conclude(report.json()?, options.json.as_deref(), report.holds())
}

struct Bench<'a> {
    cable: &'a Cable,
    server: Server<'a>,
    crowd: Crowd,
    options: &'a Options,
}

/// A named set of connections that is measured together with others.
struct Sharing {
    name: String,
    sources: Vec<Ipv4Addr>,
}

const WAYS: [(&str, Direction); 2] = [("up", Direction::Up), ("down", Direction::Down)];

impl Bench<'_> {
    fn measure(&mut self) -> Result<Report> {
        let mut report = Report::new(self.options);
        // What the server allocates once, for whatever it is asked first, belongs to no session.
        self.crowd.open(1)?;
        self.crowd.open_device(self.cable)?;
        report.traffic(self.compare(&[self.one_session(1)])?);
        self.rest(SETTLE)?;
        let alone = self.server.resident_bytes()?;
        for (place, &count) in self.options.sessions.iter().enumerate() {
            report.idle(self.idle(count, alone)?);
            if place == 0 {
                let active = self.options.active;
                let together = Sharing {
                    name: format!("{active} sessions, a stream each"),
                    sources: self.crowd.addresses().take(active).collect(),
                };
                let sets = [self.one_session(1), together, self.one_session(active)];
                report.traffic(self.compare(&sets)?);
            }
        }
        report.traffic(self.compare(&[self.one_session(1)])?);
        Ok(report)
    }

    /// The first session with so many connections.
    fn one_session(&self, streams: usize) -> Sharing {
        let first = self.crowd.addresses().next();
        Sharing {
            name: match streams {
                1 => "one session, one stream".to_owned(),
                _ => format!("one session, {streams} streams"),
            },
            sources: vec![first.expect("the first session was opened"); streams],
        }
    }

    /// Makes sessions until there are `count`, and watches them while nothing happens.
    fn idle(&mut self, count: usize, alone: u64) -> Result<Idle> {
        note(&format!("{count} sessions: handshakes"));
        let handshakes = count - self.crowd.addresses().count();
        let before = (Instant::now(), self.server.processor_time()?);
        self.crowd.open(count)?;
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

    /// Lets the crowd do what idle clients do.
    fn rest(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        self.crowd.run(|| Instant::now() >= until)
    }

    /// Measures each set in each round, both ways.
    fn compare(&mut self, sets: &[Sharing]) -> Result<Vec<(Traffic, Vec<Carried>)>> {
        let sessions = self.crowd.addresses().count();
        let mut found = vec![Vec::new(); sets.len() * WAYS.len()];
        for round in 0..self.options.rounds {
            for place in 0..sets.len() {
                // Everybody is first once.
                let index = (place + round) % sets.len();
                for (way, (word, direction)) in WAYS.into_iter().enumerate() {
                    let set = &sets[index];
                    note(&format!(
                        "{sessions} sessions, round {} of {}: {} {word}",
                        round + 1,
                        self.options.rounds,
                        set.name
                    ));
                    let load = Load {
                        sources: &set.sources,
                        direction,
                        lasts: Duration::from_secs(self.options.seconds),
                    };
                    let carried = carry(&mut self.crowd, self.cable, &self.server, load)
                        .with_context(|| format!("{} {word}", set.name))?;
                    found[index * WAYS.len() + way].push(carried);
                }
            }
        }
        let described = found.into_iter().enumerate().filter_map(|(place, rounds)| {
            let (index, way) = (place / WAYS.len(), place % WAYS.len());
            let traffic = Traffic::of(&sets[index].name, sessions, WAYS[way].0, &rounds)?;
            Some((traffic, rounds))
        });
        Ok(described.collect())
    }
}
