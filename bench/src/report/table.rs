//! The table for people.

use std::fmt::Write as _;

use super::Described;
use super::figures::WayFigures;
use super::setting::Setting;
use crate::statistics::Spread;

/// The setting, a line per tunnel, the ratios, the doubts.
pub(crate) fn render(setting: &Setting, tunnels: &[Described<'_>], doubts: &[String]) -> String {
    let mut text = format!(
        "{} on Linux {}; programs of {}\n\
         one TCP stream of {} s with {} (checked), {} rounds: median (min-max); RTT: median of {} pings\n\n",
        setting.processor,
        setting.kernel,
        setting.programs,
        setting.seconds,
        setting.congestion_control,
        setting.rounds,
        setting.pings,
    );
    let _ = writeln!(
        text,
        "{:<13} {:>5} {:<17} {:>16} {:>19} {:>19} {:>11} {:>11}",
        "",
        "MTU",
        "offload",
        "RTT ms (added)",
        "up Gbit/s",
        "down Gbit/s",
        "CPU s/Gbit",
        "of machine"
    );
    for tunnel in tunnels {
        let figures = &tunnel.figures;
        let added = figures
            .rtt_added_ms
            .map_or_else(|| "-".to_owned(), |added| format!("{:.3}", added.median));
        let _ = writeln!(
            text,
            "{:<13} {:>5} {:<17} {:>16} {:>19} {:>19} {:>11} {:>11}",
            tunnel.setting.name,
            tunnel.setting.mtu,
            tunnel.setting.offload.join(","),
            format!("{:.3} ({added})", figures.rtt_ms.median),
            spread(&figures.up.gbit_per_second),
            spread(&figures.down.gbit_per_second),
            both(figures, |way| &way.ends_cpu_seconds_per_gbit),
            both(figures, |way| &way.machine_cpu_seconds_per_gbit),
        );
    }
    text.push_str(
        "CPU s/Gbit: of both ends, and of the machine with iperf3 and the kernel; up/down\n",
    );
    ratios(&mut text, tunnels);
    batching(&mut text, tunnels);
    for doubt in doubts {
        let _ = write!(text, "\nDOES NOT HOLD: {doubt}");
    }
    text
}

fn ratios(text: &mut String, tunnels: &[Described<'_>]) {
    for tunnel in tunnels {
        let Some(ratios) = &tunnel.qdt_to_this else {
            continue;
        };
        let _ = write!(
            text,
            "\nqdt / {}: up {}, down {}",
            tunnel.setting.name,
            spread(&ratios.up),
            spread(&ratios.down)
        );
        if let (Some(up), Some(down)) = (ratios.ends_cpu_up, ratios.ends_cpu_down) {
            let _ = write!(
                text,
                "; CPU for the same payload up {:.2}, down {:.2}",
                up.median, down.median
            );
        }
    }
}

fn batching(text: &mut String, tunnels: &[Described<'_>]) {
    for tunnel in tunnels {
        let figures = &tunnel.figures;
        for (way, found) in [("up", &figures.up), ("down", &figures.down)] {
            let Some(batching) = found.batching else {
                continue;
            };
            let (call, train) = match way {
                "up" => ("written to the TUN", "received"),
                _ => ("read from the TUN", "sent"),
            };
            let _ = write!(
                text,
                "\n{} {way}, at the server: {:.1} packets a super-packet {call}, {:.1} datagrams a train {train}, \
                 {:.2} datagrams a packet, {:.0} drops, {:.0} retransmits",
                tunnel.setting.name,
                batching.packets_per_tun_call,
                batching.datagrams_per_train,
                batching.datagrams_per_packet,
                batching.drops,
                found.retransmits.median,
            );
        }
    }
}

fn spread(figures: &Spread) -> String {
    format!(
        "{:.2} ({:.2}-{:.2})",
        figures.median, figures.min, figures.max
    )
}

fn both(figures: &super::Figures, figure: impl Fn(&WayFigures) -> &Spread) -> String {
    format!(
        "{:.3}/{:.3}",
        figure(&figures.up).median,
        figure(&figures.down).median
    )
}
