//! Detection of foreign nftables chains that drop traffic which our tables accept.
//!
//! Parses the output of `nft -j` (libnftables-json(5)) and evaluates every base chain of the hook
//! `forward` for two packets: one from a client to the outside, and its reply.
//!
//! Invariants: a chain is reported only where it certainly drops one of the packets. A rule with an
//! unknown condition might accept the packet; a rule for certain ports or protocols does not match
//! it.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use serde_json::Value;

use crate::firewall::{ClosedChain, NatPlan};

/// The families whose chains filter IPv4 packets.
const FAMILIES: [&str; 2] = ["ip", "inet"];
/// The most nested jumps between chains (`NFT_JUMP_STACK_SIZE` of the kernel).
const MAX_DEPTH: usize = 16;
/// The most rules to evaluate for one packet. Chains with `k` jumps to each other cost `k` to the
/// power of [`MAX_DEPTH`]; no real ruleset reaches this limit.
const MAX_RULES: usize = 100_000;

/// Returns family and name of the tables in `nft -j list chains` that have a base chain of the hook
/// `forward` for IPv4 packets, except those called `ours`.
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

/// Returns the base chains of the hook `forward` in one table (output of `nft -j list table`) that
/// certainly drop traffic which `plan` accepts.
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
                    rules_left: MAX_RULES,
                    doubt: false,
                };
                let by_rule = match walk.chain(text(base, "name"), 0) {
                    Outcome::Dropped => true,
                    Outcome::Open if by_policy => false,
                    Outcome::Accepted | Outcome::Open => return None,
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

/// Returns the objects of one kind in the output of nft.
fn objects<'v>(list: &'v Value, kind: &'v str) -> impl Iterator<Item = &'v Value> {
    let all = list["nftables"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter_map(move |object| object.get(kind))
}

fn text<'v>(object: &'v Value, key: &str) -> &'v str {
    object[key].as_str().unwrap_or_default()
}

/// A packet that has to pass the chain.
struct Packet<'p> {
    from: &'p str,
    to: &'p str,
    /// The network of its source; `None` for any address.
    source: Option<IpNet>,
    destination: Option<IpNet>,
    state: &'p str,
}

/// The outcome of a chain for the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Dropped,
    /// No rule decided; the policy applies.
    Open,
}

/// Whether a rule matches the packet; `None` where that is unclear.
type Match = Option<bool>;

fn both(one: Match, other: Match) -> Match {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        _ => one.and(other),
    }
}

fn either(one: Match, other: Match) -> Match {
    both(one.map(|yes| !yes), other.map(|yes| !yes)).map(|neither| !neither)
}

struct Walk<'w> {
    rules: &'w HashMap<&'w str, Vec<&'w [Value]>>,
    packet: &'w Packet<'w>,
    /// The number of rules that may still be evaluated.
    rules_left: usize,
    /// Whether a rule with an unknown condition may have accepted the packet.
    doubt: bool,
}

impl Walk<'_> {
    fn chain(&mut self, name: &str, depth: usize) -> Outcome {
        if depth > MAX_DEPTH {
            self.doubt = true;
            return Outcome::Open;
        }
        let rules = self.rules.get(name).map_or(&[][..], Vec::as_slice);
        for expressions in rules {
            let Some(rules_left) = self.rules_left.checked_sub(1) else {
                self.doubt = true;
                return Outcome::Open;
            };
            self.rules_left = rules_left;
            let mut matches = Some(true);
            for expression in *expressions {
                let Some((kind, value)) = expression.as_object().and_then(|one| one.iter().next())
                else {
                    matches = both(matches, None);
                    continue;
                };
                let verdict = if kind == "vmap" {
                    let (of_key, verdict) = self.look_up(value);
                    matches = both(matches, of_key);
                    verdict
                } else {
                    Some((kind.as_str(), value))
                };
                let Some((kind, value)) = verdict else {
                    continue;
                };
                if matches == Some(false) {
                    break;
                }
                match self.statement(kind, value, &mut matches, depth) {
                    Step::Next => {}
                    Step::Return => return Outcome::Open,
                    Step::Decided(outcome) => return outcome,
                }
            }
        }
        Outcome::Open
    }

    /// Evaluates one statement of a rule that matches, or may match, the packet.
    fn statement(&mut self, kind: &str, value: &Value, matches: &mut Match, depth: usize) -> Step {
        let certain = *matches == Some(true);
        match kind {
            "match" => *matches = both(*matches, self.matches(value)),
            // These act on some packets only.
            "limit" | "quota" | "ct count" => *matches = Some(false),
            "counter" | "log" | "mangle" | "ct helper" | "notrack" | "flow" | "comment" => {}
            "accept" if certain => return Step::Decided(Outcome::Accepted),
            "accept" | "queue" | "tproxy" => self.doubt = true,
            "drop" | "reject" if certain => return Step::Decided(Outcome::Dropped),
            "drop" | "reject" | "continue" => {}
            "return" if certain => return Step::Return,
            "return" => self.doubt = true,
            "jump" | "goto" => {
                let outcome = self.chain(text(value, "target"), depth + 1);
                match (outcome, certain) {
                    (Outcome::Open, true) if kind == "goto" => return Step::Return,
                    (Outcome::Open, _) | (Outcome::Dropped, false) => {}
                    (outcome, true) => return Step::Decided(outcome),
                    (Outcome::Accepted, false) => self.doubt = true,
                }
            }
            _ => *matches = both(*matches, None),
        }
        Step::Next
    }

    /// Returns the verdict of a verdict map for the packet, and whether it is certain.
    fn look_up<'v>(&self, map: &'v Value) -> (Match, Option<(&'v str, &'v Value)>) {
        let Some(elements) = map["data"]["set"].as_array() else {
            // The elements of a named map are unknown.
            return (None, Some(("accept", &Value::Null)));
        };
        for element in elements {
            let matches = self.compare(&map["key"], &element[0]);
            if matches != Some(false) {
                let verdict = element[1].as_object().and_then(|one| one.iter().next());
                return (matches, verdict.map(|(kind, value)| (kind.as_str(), value)));
            }
        }
        (Some(false), None)
    }

    fn matches(&self, condition: &Value) -> Match {
        let matches = self.compare(&condition["left"], &condition["right"]);
        match text(condition, "op") {
            "==" | "in" => matches,
            "!=" if is_of_packet(&condition["left"]) => matches.map(|yes| !yes),
            _ => None,
        }
    }

    /// Compares the packet's value of `left` with `right`, or with the elements of `right`.
    fn compare(&self, left: &Value, right: &Value) -> Match {
        let meta = text(&left["meta"], "key");
        match meta {
            "iifname" | "iif" => return any_of(right, &|one| is_interface(one, self.packet.from)),
            "oifname" | "oif" => return any_of(right, &|one| is_interface(one, self.packet.to)),
            "nfproto" => return any_of(right, &|one| Some(one == "ipv4")),
            "protocol" => return any_of(right, &|one| Some(one == "ip")),
            "l4proto" => return Some(false),
            _ => {}
        }
        if left["ct"]["key"] == "state" {
            return any_of(right, &|one| Some(one == self.packet.state));
        }
        if left["ct"]["key"] == "status" {
            return any_of(right, &|one| match one.as_str() {
                Some("dnat") => Some(false),
                _ => None,
            });
        }
        let payload = &left["payload"];
        match (text(payload, "protocol"), text(payload, "field")) {
            ("ip", "saddr") => any_of(right, &|one| is_in(self.packet.source, one)),
            ("ip", "daddr") => any_of(right, &|one| is_in(self.packet.destination, one)),
            ("", _) => None,
            // Another protocol, or some packets of this one.
            _ => Some(false),
        }
    }
}

/// The next step after a statement.
enum Step {
    Next,
    Return,
    Decided(Outcome),
}

/// Returns whether `left` has the same value for every packet of the flow, so that `!=` can be
/// evaluated.
fn is_of_packet(left: &Value) -> bool {
    matches!(
        text(&left["meta"], "key"),
        "iifname" | "iif" | "oifname" | "oif" | "nfproto" | "protocol"
    ) || left["ct"]["key"] == "state"
        || left["payload"]["protocol"] == "ip"
            && matches!(text(&left["payload"], "field"), "saddr" | "daddr")
}

/// Applies `is` to `right`, or to its elements where it is a set or a list; one match suffices.
fn any_of(right: &Value, is: &dyn Fn(&Value) -> Match) -> Match {
    let elements = right.as_array().or_else(|| right["set"].as_array());
    match elements {
        Some(elements) => elements
            .iter()
            .map(|one| is(one.get("elem").map_or(one, |elem| &elem["val"])))
            .fold(Some(false), either),
        // A named set.
        None if right.as_str().is_some_and(|name| name.starts_with('@')) => None,
        None => is(right),
    }
}

fn is_interface(pattern: &Value, name: &str) -> Match {
    let pattern = pattern.as_str()?;
    Some(match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    })
}

/// Returns whether an arbitrary address of `network` is in the network that the rule names.
fn is_in(network: Option<IpNet>, right: &Value) -> Match {
    let named = match (right.as_str(), &right["prefix"]) {
        (Some(address), _) => address.parse::<IpAddr>().ok().map(IpNet::from),
        (None, prefix) => prefix["addr"].as_str().and_then(|address| {
            let len = u8::try_from(prefix["len"].as_u64()?).ok()?;
            IpNet::new(address.parse().ok()?, len).ok()
        }),
    };
    match (network, named) {
        (_, Some(named)) if named.prefix_len() == 0 => Some(true),
        (Some(network), Some(named)) if named.contains(&network) => Some(true),
        (Some(network), Some(named)) if network.contains(&named) => None,
        (Some(_), Some(_)) => Some(false),
        // An arbitrary address of the internet is in no network.
        (None, Some(_)) => Some(false),
        // A range or another expression.
        (_, None) => None,
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
