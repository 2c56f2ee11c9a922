//! The tables for people: one for each kind of measure, then ratios, bars and doubts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::bars::{Bar, BarVerdict, Bound};
use super::figures::{Spreads, find};
use super::setting::Setting;
use super::{Described, Document};
use crate::figure::{Metric, Run};
use crate::measure::{STREAMS, UDP_LOADS};
use crate::statistics::Spread;
use crate::tcp::Direction;
use crate::tunnels::QDT;

/// Directions as they stand in a table.
const WAYS: [Direction; 2] = [Direction::Up, Direction::Down];

/// Everything that is known.
pub(crate) fn render(document: &Document<'_>) -> String {
    let tunnels = &document.tunnels;
    let mut text = setting(document.setting);
    ends(&mut text, tunnels);
    rtt(&mut text, tunnels);
    tcp(&mut text, tunnels);
    udp(&mut text, tunnels);
    ratios(&mut text, tunnels);
    path(&mut text, tunnels);
    bars(&mut text, &document.bars);
    for doubt in &document.does_not_hold_because {
        let _ = write!(text, "\nDOES NOT HOLD: {doubt}");
    }
    text
}

fn setting(setting: &Setting) -> String {
    format!(
        "{} on Linux {}; programs of {}\n\
         {} rounds: median (min-max); TCP runs of {} s with {} (checked); idle pings: {} back to back (awake), \
         then {} of {} a second (asleep)\n",
        setting.processor,
        setting.kernel,
        setting.programs,
        setting.rounds,
        setting.seconds,
        setting.congestion.name(),
        setting.pings[0],
        setting.pings[1],
        setting.pings_per_second,
    )
}

fn ends(text: &mut String, tunnels: &[Described<'_>]) {
    let _ = writeln!(
        text,
        "\n{:<13} {:>5} {:<18} {:>27}  version",
        "", "MTU", "offload", "MiB client, server (peak)"
    );
    for Described {
        setting, figures, ..
    } in tunnels
    {
        let mib = |what| cell(figures, Run::Memory, &what, 0);
        let _ = writeln!(
            text,
            "{:<13} {:>5} {:<18} {:>27}  {}",
            setting.name,
            setting.mtu,
            setting.offload.join(","),
            format!(
                "{} ({}), {} ({})",
                mib(Metric::ClientMib),
                mib(Metric::ClientPeakMib),
                mib(Metric::ServerMib),
                mib(Metric::ServerPeakMib)
            ),
            setting.version,
        );
    }
}

fn rtt(text: &mut String, tunnels: &[Described<'_>]) {
    let loaded = WAYS.map(|way| Run::tcp(1, way));
    if !measured(tunnels, Run::Awake) && !measured(tunnels, loaded[0]) {
        return;
    }
    let _ = writeln!(
        text,
        "\n{:<13} {:>28} {:>28} {:>20} {:>20}",
        "RTT ms",
        "awake p50 (added) / p99",
        "asleep p50 (added) / p99",
        "1 up p50 / p99",
        "1 down p50 / p99"
    );
    for Described {
        setting, figures, ..
    } in tunnels
    {
        let idle = [Run::Awake, Run::Asleep].map(|run| {
            let of = |what| cell(figures, run, &what, 3);
            format!(
                "{} ({}) / {}",
                of(Metric::RttP50Ms),
                of(Metric::RttAddedP50Ms),
                of(Metric::RttP99Ms)
            )
        });
        let under = loaded.map(|run| {
            let of = |what| cell(figures, run, &what, 2);
            format!("{} / {}", of(Metric::RttP50Ms), of(Metric::RttP99Ms))
        });
        let _ = writeln!(
            text,
            "{:<13} {:>28} {:>28} {:>20} {:>20}",
            setting.name, idle[0], idle[1], under[0], under[1],
        );
    }
}

fn tcp(text: &mut String, tunnels: &[Described<'_>]) {
    let runs: Vec<_> = STREAMS
        .iter()
        .flat_map(|streams| WAYS.map(|way| Run::tcp(*streams, way)))
        .collect();
    if !measured(tunnels, runs[0]) {
        return;
    }
    let _ = write!(text, "\n{:<13}", "TCP Gbit/s");
    for run in &runs {
        let _ = write!(text, " {:>19}", run.to_string());
    }
    let _ = writeln!(text, " {:>27} {:>13}", "CPU s/Gbit", "of machine");
    for Described {
        setting, figures, ..
    } in tunnels
    {
        let _ = write!(text, "{:<13}", setting.name);
        for run in &runs {
            let _ = write!(text, " {:>19}", wide(figures, *run, &Metric::GbitPerSecond));
        }
        let each = |runs: &[Run], what: &Metric| {
            let cells: Vec<_> = runs
                .iter()
                .map(|run| cell(figures, *run, what, 3))
                .collect();
            cells.join(" ")
        };
        let _ = writeln!(
            text,
            " {:>27} {:>13}",
            each(&runs, &Metric::EndsCpuSecondsPerGbit),
            each(&runs[..2], &Metric::MachineCpuSecondsPerGbit),
        );
    }
    text.push_str(
        "CPU: of both ends, in the order of the columns; of the machine with iperf3 and the kernel, one stream\n",
    );
}

fn udp(text: &mut String, tunnels: &[Described<'_>]) {
    if !measured(tunnels, Run::Udp(UDP_LOADS[0])) {
        return;
    }
    let _ = write!(text, "\n{:<13}", "UDP up");
    for load in UDP_LOADS {
        let _ = write!(text, " {:>31}", Run::Udp(load).to_string());
    }
    text.push('\n');
    for Described {
        setting, figures, ..
    } in tunnels
    {
        let _ = write!(text, "{:<13}", setting.name);
        for load in UDP_LOADS {
            let run = Run::Udp(load);
            let limited = find(figures, run, &Metric::SenderLimited)
                .is_some_and(|limited| limited.median > 0.0);
            let packets = find(figures, run, &Metric::PacketsPerSecond)
                .map_or_else(missing, |rate| format!("{:.0}k", rate.median / 1e3));
            let packets = format!("{}{packets}", if limited { ">" } else { "" });
            let gbit = wide(figures, run, &Metric::GbitPerSecond);
            let cpu = cell(figures, run, &Metric::EndsCpuSecondsPerGbit, 2);
            let _ = write!(text, " {:>31}", format!("{packets} {gbit} {cpu}"));
        }
        text.push('\n');
    }
    text.push_str(
        "packets/s, Gbit/s of payload, CPU s/Gbit of both ends, at the highest rate with less than 0.1 % missing; >: no more was sent\n",
    );
}

fn ratios(text: &mut String, tunnels: &[Described<'_>]) {
    for tunnel in tunnels {
        let Some(ratios) = &tunnel.qdt_to_this else {
            continue;
        };
        let list = |what: &Metric| {
            let of = |(run, found): (&Run, &BTreeMap<Metric, Spread>)| {
                Some(format!("{run} {:.2}", found.get(what)?.median))
            };
            ratios.iter().filter_map(of).collect::<Vec<_>>().join(", ")
        };
        let name = tunnel.setting.name;
        let _ = write!(text, "\n{QDT} / {name}: {}", list(&Metric::GbitPerSecond));
        let cpu = list(&Metric::EndsCpuSecondsPerGbit);
        if !cpu.is_empty() {
            let _ = write!(text, "\n    CPU for the same payload: {cpu}");
        }
    }
    text.push('\n');
}

fn path(text: &mut String, tunnels: &[Described<'_>]) {
    let columns = [
        ("TUN read", Metric::PacketsPerTunRead),
        ("TUN write", Metric::PacketsPerTunWrite),
        ("send", Metric::DatagramsPerSend),
        ("receive", Metric::DatagramsPerReceive),
        ("per packet", Metric::DatagramsPerPacket),
    ];
    let mut first = true;
    for Described {
        setting, figures, ..
    } in tunnels
    {
        for (run, found) in figures.iter() {
            if !found.contains_key(&Metric::PacketsPerTunRead) {
                continue;
            }
            if std::mem::take(&mut first) {
                let _ = write!(text, "\n{:<26}", "at our server");
                for (name, _) in &columns {
                    let _ = write!(text, " {name:>10}");
                }
                text.push_str("  retransmits, drops\n");
            }
            let _ = write!(text, "{:<26}", format!("{} {run}", setting.name));
            for (_, what) in &columns {
                let _ = write!(text, " {:>10}", cell(figures, *run, what, 2));
            }
            let _ = write!(text, "  {}", cell(figures, *run, &Metric::Retransmits, 0));
            for (what, drops) in found {
                if let Metric::Drops(reason) = what {
                    let _ = write!(text, ", {reason} {:.0}", drops.median);
                }
            }
            text.push('\n');
        }
    }
    if !first {
        text.push_str("packets per call on the TUN, datagrams per train sent and received, datagrams per packet\n");
    }
}

fn bars(text: &mut String, bars: &[Bar]) {
    for bar in bars {
        let (sign, asked) = match bar.asked {
            Bound::AtLeast(asked) => (">=", asked),
            Bound::AtMost(asked) => ("<=", asked),
        };
        let _ = write!(
            text,
            "\n{:<14} {:>6.3} {sign} {asked:<5} {}",
            match bar.verdict {
                BarVerdict::Reached => "reached",
                BarVerdict::NotReached => "NOT REACHED",
                BarVerdict::OtherTooSlow => "other too slow",
            },
            bar.found,
            bar.what,
        );
    }
    text.push('\n');
}

fn measured(tunnels: &[Described<'_>], run: Run) -> bool {
    tunnels
        .iter()
        .any(|tunnel| tunnel.figures.contains_key(&run))
}

fn cell(figures: &Spreads, run: Run, what: &Metric, digits: usize) -> String {
    find(figures, run, what).map_or_else(missing, |found| format!("{:.digits$}", found.median))
}

fn wide(figures: &Spreads, run: Run, what: &Metric) -> String {
    find(figures, run, what).map_or_else(missing, |found| {
        format!("{:.2} ({:.2}-{:.2})", found.median, found.min, found.max)
    })
}

fn missing() -> String {
    "-".to_owned()
}
