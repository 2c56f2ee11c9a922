//! Finding out whether somebody else's nftables chain drops what our table lets through.
//!
//! Reads what `nft -j` writes (libnftables-json(5)) and follows two packets through every base
//! chain of the hook `forward`: one of a client on its way out, and its answer. Only what surely
//! drops one of them counts: a rule whose condition is not understood may accept it, and then
//! nothing is said. A rule for some ports or protocols only is none for the packet.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use serde_json::Value;

use crate::firewall::{ClosedChain, NatPlan};

/// The families whose chains see IPv4 packets.
const FAMILIES: [&str; 2] = ["ip", "inet"];
/// Chains call chains; the kernel allows 16 (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;
/// The most rules that one packet is followed through. Chains that jump to each other `k` times
/// cost `k` to the power of [`DEPTH`]; no real ruleset comes near.
const STEPS: usize = 100_000;

/// Family and name of the tables in `nft -j list chains` that have a base chain of the hook
/// `forward` for IPv4 packets, but for those that are called `ours`.
pub(super) fn forward_tables(list: &Value, ours: &str) -> Vec<(String, String)> {
    let mut tables: Vec<_> = objects(list, "chain")
        .filter(|chain| is_forward(chain) && text(chain, "table") != ours)
        .map(|chain| {
            (
                text(chain, "family").to_owned(),
                text(chain, "table").to_owned(),
            )
        })
        .filter(|(family, _)| FAMILIES.contains(&family.as_str()))
        .collect();
    tables.sort();
    tables.dedup();
    tables
}

/// The base chains of the hook `forward` in one table, as `nft -j list table` writes it, that
/// surely drop what `plan` lets through.
pub(super) fn closed_chains(table: &Value, plan: &NatPlan) -> Vec<ClosedChain> {
    let Some(external) = &plan.external_interface else {
        return Vec::new();
    };
    let pool = plan.pool.trunc();
    let packets = [
        Packet {
            from: &plan.tun,
            to: external,
            source: Some(pool),
            destination: None,
            state: "new",
        },
        Packet {
            from: external,
            to: &plan.tun,
            source: None,
            destination: Some(pool),
            state: "established",
        },
    ];
    let mut rules: HashMap<&str, Vec<&[Value]>> = HashMap::new();
    for rule in objects(table, "rule") {
        let expressions = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
        rules
            .entry(text(rule, "chain"))
            .or_default()
            .push(expressions);
    }
    let bases = objects(table, "chain").filter(|chain| is_forward(chain));
    bases
        .filter_map(|base| {
            let by_policy = text(base, "policy") == "drop";
            let dropped = packets.iter().find_map(|packet| {
                let mut walk = Walk {
                    rules: &rules,
                    packet,
                    steps: STEPS,
                    doubt: false,
                };
                let by_rule = match walk.chain(text(base, "name"), 0) {
                    Fate::Dropped => true,
                    Fate::Open if by_policy => false,
                    Fate::Passed | Fate::Open => return None,
                };
                (!walk.doubt).then_some(by_rule)
            });
            Some(ClosedChain {
                family: text(base, "family").to_owned(),
                table: text(base, "table").to_owned(),
                chain: text(base, "name").to_owned(),
                by_rule: dropped?,
                tun: plan.tun.clone(),
                external_interface: external.clone(),
            })
        })
        .collect()
}

fn is_forward(chain: &Value) -> bool {
    chain["hook"] == "forward"
}

/// The objects of one kind in the list that nft writes.
fn objects<'v>(list: &'v Value, kind: &'v str) -> impl Iterator<Item = &'v Value> {
    let all = list["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(move |object| object.get(kind))
}

fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object[key].as_str().unwrap_or_default()
}

/// A packet that has to pass.
struct Packet<'p> {
    from: &'p str,
    to: &'p str,
    /// Somewhere in this network; `None` is anywhere.
    source: Option<IpNet>,
    destination: Option<IpNet>,
    state: &'p str,
}

/// What became of the packet in a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Dropped,
    /// No rule decided.
    Open,
}

/// Whether a rule is one for the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    Unclear,
}

impl Match {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unclear,
        }
    }

    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    fn negated(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Unclear => Self::Unclear,
        }
    }
}

struct Walk<'w> {
    rules: &'w HashMap<&'w str, Vec<&'w [Value]>>,
    packet: &'w Packet<'w>,
    /// How many more rules are looked at.
    steps: usize,
    /// A rule that is not understood may have let the packet pass.
    doubt: bool,
}

impl Walk<'_> {
    fn chain(&mut self, name: &str, depth: usize) -> Fate {
        if depth > DEPTH {
            self.doubt = true;
            return Fate::Open;
        }
        let rules = self.rules.get(name).map_or(&[][..], Vec::as_slice);
        for expressions in rules {
            let Some(steps) = self.steps.checked_sub(1) else {
                self.doubt = true;
                return Fate::Open;
            };
            self.steps = steps;
            let mut matches = Match::Yes;
            for expression in *expressions {
                let Some((kind, value)) = expression.as_object().and_then(|one| one.iter().next())
                else {
                    matches = matches.and(Match::Unclear);
                    continue;
                };
                let verdict = if kind == "vmap" {
                    let (of_key, verdict) = self.look_up(value);
                    matches = matches.and(of_key);
                    verdict
                } else {
                    Some((kind.as_str(), value))
                };
                let Some((kind, value)) = verdict else {
                    continue;
                };
                if matches == Match::No {
                    break;
                }
                match self.statement(kind, value, &mut matches, depth) {
                    Step::Next => {}
                    Step::Return => return Fate::Open,
                    Step::Decided(fate) => return fate,
                }
            }
        }
        Fate::Open
    }

    /// One statement of a rule that is, or may be, one for the packet.
    fn statement(&mut self, kind: &str, value: &Value, matches: &mut Match, depth: usize) -> Step {
        let sure = *matches == Match::Yes;
        match kind {
            "match" => *matches = matches.and(self.matches(value)),
            // They act on a part of the packets only.
            "limit" | "quota" | "ct count" => *matches = Match::No,
            "counter" | "log" | "mangle" | "ct helper" | "notrack" | "flow" | "comment" => {}
            "accept" if sure => return Step::Decided(Fate::Passed),
            "accept" | "queue" | "tproxy" => self.doubt = true,
            "drop" | "reject" if sure => return Step::Decided(Fate::Dropped),
            "drop" | "reject" | "continue" => {}
            "return" if sure => return Step::Return,
            "return" => self.doubt = true,
            "jump" | "goto" => {
                let fate = self.chain(text(value, "target"), depth + 1);
                match (fate, sure) {
                    (Fate::Open, true) if kind == "goto" => return Step::Return,
                    (Fate::Open, _) | (Fate::Dropped, false) => {}
                    (fate, true) => return Step::Decided(fate),
                    (Fate::Passed, false) => self.doubt = true,
                }
            }
            _ => *matches = matches.and(Match::Unclear),
        }
        Step::Next
    }

    /// The verdict that a verdict map has for the packet, and whether that is certain.
    fn look_up<'v>(&self, map: &'v Value) -> (Match, Option<(&'v str, &'v Value)>) {
        let Some(elements) = map["data"]["set"].as_array() else {
            // A named map: anything is possible.
            return (Match::Unclear, Some(("accept", &Value::Null)));
        };
        for element in elements {
            let matches = self.compare(&map["key"], &element[0]);
            if matches != Match::No {
                let verdict = element[1].as_object().and_then(|one| one.iter().next());
                return (matches, verdict.map(|(kind, value)| (kind.as_str(), value)));
            }
        }
        (Match::No, None)
    }

    fn matches(&self, condition: &Value) -> Match {
        let matches = self.compare(&condition["left"], &condition["right"]);
        match text(condition, "op") {
            "==" | "in" => matches,
            "!=" if is_of_packet(&condition["left"]) => matches.negated(),
            _ => Match::Unclear,
        }
    }

    /// Whether what `left` names in the packet is `right`, or among it.
    fn compare(&self, left: &Value, right: &Value) -> Match {
        let meta = text(&left["meta"], "key");
        match meta {
            "iifname" | "iif" => return any_of(right, &|one| is_interface(one, self.packet.from)),
            "oifname" | "oif" => return any_of(right, &|one| is_interface(one, self.packet.to)),
            "nfproto" => return any_of(right, &|one| Match::from(one == "ipv4")),
            "protocol" => return any_of(right, &|one| Match::from(one == "ip")),
            "l4proto" => return Match::No,
            _ => {}
        }
        if left["ct"]["key"] == "state" {
            return any_of(right, &|one| Match::from(one == self.packet.state));
        }
        if left["ct"]["key"] == "status" {
            return any_of(right, &|one| match one.as_str() {
                Some("dnat") => Match::No,
                _ => Match::Unclear,
            });
        }
        let payload = &left["payload"];
        match (text(payload, "protocol"), text(payload, "field")) {
            ("ip", "saddr") => any_of(right, &|one| is_in(self.packet.source, one)),
            ("ip", "daddr") => any_of(right, &|one| is_in(self.packet.destination, one)),
            ("", _) => Match::Unclear,
            // Another protocol, or a part of the packets of this one.
            _ => Match::No,
        }
    }
}

/// How a chain goes on.
enum Step {
    Next,
    Return,
    Decided(Fate),
}

/// Whether `left` says the same of every packet that is followed here, so that its opposite does
/// too.
fn is_of_packet(left: &Value) -> bool {
    matches!(
        text(&left["meta"], "key"),
        "iifname" | "iif" | "oifname" | "oif" | "nfproto" | "protocol"
    ) || left["ct"]["key"] == "state"
        || left["payload"]["protocol"] == "ip"
            && matches!(text(&left["payload"], "field"), "saddr" | "daddr")
}

/// Whether `right`, or one element of it where it is a set or a list, is met.
fn any_of(right: &Value, is: &dyn Fn(&Value) -> Match) -> Match {
    let elements = right.as_array().or_else(|| right["set"].as_array());
    match elements {
        Some(elements) => elements
            .iter()
            .map(|one| is(one.get("elem").map_or(one, |elem| &elem["val"])))
            .fold(Match::No, |found, one| match (found, one) {
                (Match::Yes, _) | (_, Match::Yes) => Match::Yes,
                (Match::No, Match::No) => Match::No,
                _ => Match::Unclear,
            }),
        // A named set.
        None if right.as_str().is_some_and(|name| name.starts_with('@')) => Match::Unclear,
        None => is(right),
    }
}

fn is_interface(pattern: &Value, name: &str) -> Match {
    let Some(pattern) = pattern.as_str() else {
        return Match::Unclear;
    };
    Match::from(match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    })
}

/// Whether an address somewhere in `network` is in what the rule names, both of one family.
fn is_in(network: Option<IpNet>, right: &Value) -> Match {
    let named = match (right.as_str(), &right["prefix"]) {
        (Some(address), _) => address.parse::<IpAddr>().ok().map(IpNet::from),
        (None, prefix) => prefix["addr"].as_str().and_then(|address| {
            let len = u8::try_from(prefix["len"].as_u64()?).ok()?;
            IpNet::new(address.parse().ok()?, len).ok()
        }),
    };
    match (network, named) {
        (_, Some(named)) if named.prefix_len() == 0 => Match::Yes,
        (Some(network), Some(named)) if named.contains(&network) => Match::Yes,
        (Some(network), Some(named)) if network.contains(&named) => Match::Unclear,
        (Some(_), Some(_)) => Match::No,
        // The internet at large is in no network.
        (None, Some(_)) => Match::No,
        // A range, or something else.
        (_, None) => Match::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use serde_json::json;

    use super::*;

    /// What `nft -j list table` writes of sixteen chains that each jump `jumps` times to the next;
    /// the last is empty, and whatever comes back to the first is dropped.
    fn ladder(jumps: usize) -> Value {
        let chain = |number: usize| format!("c{number}");
        let rule = |number: usize, expression: Value| {
            json!({"rule": {
                "family": "ip", "table": "t", "chain": chain(number), "expr": [expression]
            }})
        };
        let mut objects = vec![json!({"chain": {
            "family": "ip", "table": "t", "name": "c0", "hook": "forward", "policy": "accept"
        }})];
        for number in 0..15 {
            let jump = json!({"jump": {"target": chain(number + 1)}});
            objects.extend((0..jumps).map(|_| rule(number, jump.clone())));
        }
        objects.push(rule(0, json!({"drop": null})));
        json!({ "nftables": objects })
    }

    fn closed(table: Value) -> usize {
        let plan = NatPlan {
            tun: "qdt0".to_owned(),
            pool: "10.8.0.1/24".parse().unwrap(),
            external_interface: Some("eth0".to_owned()),
            client_to_client: false,
        };
        let (done, found) = mpsc::channel();
        thread::spawn(move || {
            let _ = done.send(closed_chains(&table, &plan).len());
        });
        let found = found.recv_timeout(Duration::from_secs(60));
        found.expect("an answer in time")
    }

    #[test]
    fn chains_that_jump_to_each_other_many_times_are_not_followed_to_the_end() {
        assert_eq!(closed(ladder(1)), 1, "what can be followed is found closed");
        assert_eq!(closed(ladder(10)), 0, "and nothing is said of the rest");
    }
}
