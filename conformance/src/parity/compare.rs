//! What came against what was to come, byte for byte.
//!
//! Three things are free: the value of `date` (it has to be a date), the order of headers, and
//! `mtu` up to the documented clamp. Everything else that differs is a difference, named in words;
//! so is a nonce or an id of a session that an earlier one had.

use std::collections::HashSet;

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::exchange::{Answer, Outcome};
use super::table::{Dialect, Expect, Row};
use std::net::Ipv4Addr;

/// The smallest `mtu` that the suite's server agrees to.
const FLOOR: i64 = 576;
/// The largest `mtu` that it agrees to with a peer that confirms no extension, whatever its own.
const CLAMP: i64 = 1242;

/// The body of a success, read by an independent reader of JSON.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Success {
    pub(super) version: u8,
    pub(super) session_id: u64,
    pub(super) server_nonce: String,
    pub(super) mtu: i64,
    pub(super) client_ip: Ipv4Addr,
    pub(super) gateway_ip: Ipv4Addr,
    pub(super) cidr: String,
    pub(super) dns: Option<Vec<String>>,
    pub(super) caps: Option<Vec<String>>,
    pub(super) resume: Option<String>,
}

impl Success {
    /// The text that these values have: keys in their order, what is not there left out.
    fn text(&self) -> String {
        let list = |key: &str, values: &Option<Vec<String>>| {
            values.as_ref().map_or(String::new(), |values| {
                format!(",\"{key}\":{}", serde_json::json!(values))
            })
        };
        let resume = self.resume.as_ref().map_or(String::new(), |ticket| {
            format!(",\"resume\":{}", serde_json::json!(ticket))
        });
        format!(
            "{{\"version\":{},\"session_id\":{},\"server_nonce\":\"{}\",\"mtu\":{},\"client_ip\":\"{}\",\
             \"gateway_ip\":\"{}\",\"cidr\":\"{}\"{}{}{resume}}}\n",
            self.version,
            self.session_id,
            self.server_nonce,
            self.mtu,
            self.client_ip,
            self.gateway_ip,
            self.cidr,
            list("dns", &self.dns),
            list("caps", &self.caps),
        )
    }
}

/// What the first session told about the server, and what no later one may have again.
#[derive(Debug, Clone)]
pub(super) struct Learned {
    /// The answer to the first request.
    pub(super) first: Success,
    /// The pool that `cidr` names.
    pub(super) pool: Ipv4Net,
    /// The ids of all sessions that were compared.
    ids: HashSet<u64>,
    /// Their nonces.
    nonces: HashSet<String>,
}

impl Learned {
    /// What a success tells; the first one asked for more mtu than any server has.
    pub(super) fn from(first: Success) -> Result<Self, String> {
        let pool = first
            .cidr
            .parse()
            .map_err(|_| format!("`cidr` is no IPv4 network: {}", first.cidr))?;
        Ok(Self {
            first,
            pool,
            ids: HashSet::new(),
            nonces: HashSet::new(),
        })
    }

    /// The mtu that has to be agreed where `asked` was asked for and no extension was confirmed.
    fn mtu(&self, asked: i64, dialect: Dialect) -> i64 {
        let agreed = asked.min(self.first.mtu);
        match dialect {
            Dialect::Qdt => agreed.clamp(FLOOR, CLAMP),
            Dialect::Go => agreed,
        }
    }
}

/// Every difference between what came and what had to come, in words; empty when there is none.
pub(super) fn differences(
    expected: Expect,
    outcome: &Outcome,
    is_head: bool,
    asked: i64,
    learned: Option<&mut Learned>,
    dialect: Dialect,
) -> Vec<String> {
    match (expected, outcome) {
        (Expect::Refused(row), Outcome::Answer(answer)) => refusal(row, answer, is_head),
        (Expect::Session, Outcome::Answer(answer)) => success(answer, asked, learned, dialect),
        (Expect::Redirect, Outcome::Answer(answer)) if redirects(answer) => Vec::new(),
        (Expect::StreamError(code), Outcome::Reset(got)) if *got == code => Vec::new(),
        (Expect::ConnectionError(code), Outcome::Closed(got)) if *got == code => Vec::new(),
        _ => vec![shown(outcome)],
    }
}

/// Which of the two statuses it is depends on the release of Go.
fn redirects(answer: &Answer) -> bool {
    let to_connect =
        |(name, value): &(Vec<u8>, Vec<u8>)| name == b"location" && value == b"/connect";
    [301, 307].contains(&answer.status) && answer.headers.iter().any(to_connect)
}

fn refusal(row: &Row, answer: &Answer, is_head: bool) -> Vec<String> {
    if answer.status != row.status {
        return vec![shown(&Outcome::Answer(answer.clone()))];
    }
    let mut found = Vec::new();
    let body = format!("{}\n", row.body);
    let expected = if is_head { "" } else { body.as_str() };
    if answer.body != expected.as_bytes() {
        found.push(format!("body {:?}", String::from_utf8_lossy(&answer.body)));
    }
    found.extend(headers(
        answer,
        &[
            ("content-type", "text/plain; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("content-length", &body.len().to_string()),
        ],
    ));
    if !answer.finished {
        found.push("the stream of the refusal is not finished".into());
    }
    found
}

fn success(
    answer: &Answer,
    asked: i64,
    learned: Option<&mut Learned>,
    dialect: Dialect,
) -> Vec<String> {
    if answer.status != 200 {
        return vec![shown(&Outcome::Answer(answer.clone()))];
    }
    let mut found = headers(answer, &[]);
    if answer.finished {
        found.push("the stream of the session is finished".into());
    }
    let success: Success = match serde_json::from_slice(&answer.body) {
        Ok(success) => success,
        Err(error) => {
            found.push(format!("the body is not a response: {error}"));
            return found;
        }
    };
    if success.text().as_bytes() != answer.body {
        found.push("the body has other keys, another order or other blanks than documented".into());
    }
    if success.version != 1 {
        found.push(format!("version {}", success.version));
    }
    if success.server_nonce.len() != 22 {
        found.push(format!(
            "server_nonce has {} characters, 22 are 16 bytes",
            success.server_nonce.len()
        ));
    }
    let Some(learned) = learned else {
        return found;
    };
    if !learned.ids.insert(success.session_id) {
        found.push("session_id is that of an earlier session".into());
    }
    if !learned.nonces.insert(success.server_nonce.clone()) {
        found.push("server_nonce is that of an earlier session".into());
    }
    let first = &learned.first;
    let mtu = learned.mtu(asked, dialect);
    if success.mtu != mtu {
        found.push(format!("mtu {} instead of {mtu}", success.mtu));
    }
    if success.gateway_ip != first.gateway_ip || success.cidr != first.cidr {
        found.push("gateway_ip or cidr is not that of the first session".into());
    }
    if success.dns != first.dns {
        found.push("dns is not that of the first session".into());
    }
    if !learned.pool.contains(&success.client_ip) || success.client_ip == success.gateway_ip {
        found.push(format!(
            "client_ip {} is none of the pool",
            success.client_ip
        ));
    }
    found
}

/// Differences of the headers to `expected` and a date.
fn headers(answer: &Answer, expected: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    let values = |wanted: &str| {
        let of_name = answer
            .headers
            .iter()
            .filter(move |(name, _)| name == wanted.as_bytes());
        of_name
            .map(|(_, value)| value.as_slice())
            .collect::<Vec<_>>()
    };
    for (name, value) in expected {
        match values(name)[..] {
            [] => found.push(format!("no header {name}")),
            [got] if got == value.as_bytes() => {}
            _ => found.push(format!("header {name} is not once {value:?}")),
        }
    }
    let is_date = |value: &[u8]| {
        std::str::from_utf8(value).is_ok_and(|text| httpdate::parse_http_date(text).is_ok())
    };
    match values("date")[..] {
        [] => found.push("no header date".into()),
        [value] if is_date(value) => {}
        _ => found.push("header date is not once a date".into()),
    }
    for (name, _) in &answer.headers {
        let known = |(wanted, _): &(&str, &str)| name == wanted.as_bytes();
        if name != b"date" && !expected.iter().any(known) {
            found.push(format!("an undocumented header {}", name.escape_ascii()));
        }
    }
    found
}

/// An outcome in one line, without secrets.
pub(super) fn shown(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answer(answer) if answer.status == 200 => {
            "200".to_owned() + if answer.finished { ", finished" } else { "" }
        }
        Outcome::Answer(answer) => {
            let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(80)]);
            let finished = if answer.finished {
                ""
            } else {
                ", not finished"
            };
            format!("{} {body:?}{finished}", answer.status)
        }
        Outcome::Reset(code) => format!("stream reset with {code:#x}"),
        Outcome::Closed(code) => format!("connection closed with {code:#x}"),
        Outcome::Silence => "nothing".into(),
        Outcome::Broken(why) => why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::{METHOD, UNAUTHORIZED};
    use super::*;

    fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
        let pair = |(name, value): &(&str, &str)| (name.as_bytes().into(), value.as_bytes().into());
        Answer {
            status,
            headers: headers.iter().map(pair).collect(),
            body: body.into(),
            finished: status != 200,
        }
    }

    const DATE: (&str, &str) = ("date", "Sat, 21 Nov 2026 14:00:00 GMT");
    const UNAUTHORIZED_HEADERS: [(&str, &str); 4] = [
        ("x-content-type-options", "nosniff"),
        DATE,
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "13"),
    ];
    const SUCCESS: &str = "{\"version\":1,\"session_id\":18446744073709551615,\
        \"server_nonce\":\"r1PcM/V/7a1PEpqZGM8NNQ\",\"mtu\":1242,\"client_ip\":\"10.8.0.3\",\
        \"gateway_ip\":\"10.8.0.1\",\"cidr\":\"10.8.0.0/24\"}\n";

    #[test]
    fn headers_may_come_in_any_order_and_at_any_date() {
        let answer = answer(401, &UNAUTHORIZED_HEADERS, "unauthorized\n");
        assert!(refusal(UNAUTHORIZED, &answer, false).is_empty());
    }

    #[test]
    fn every_byte_of_a_refusal_counts() {
        let good = answer(401, &UNAUTHORIZED_HEADERS, "unauthorized\n");
        let mut cases = vec![answer(401, &UNAUTHORIZED_HEADERS, "unauthorized")];
        for missing in 0..4 {
            let mut less = good.clone();
            less.headers.remove(missing);
            cases.push(less);
        }
        let mut more = good.clone();
        more.headers.push((b"allow".to_vec(), b"POST".to_vec()));
        cases.push(more);
        let mut open = good.clone();
        open.finished = false;
        cases.push(open);
        for case in cases {
            assert_eq!(refusal(UNAUTHORIZED, &case, false).len(), 1, "{case:?}");
        }
        assert_eq!(refusal(METHOD, &good, false).len(), 1, "another status");
    }

    #[test]
    fn the_keys_of_a_success_stand_in_their_order() {
        let good = answer(200, &[DATE], SUCCESS);
        assert!(success(&good, 1350, None, Dialect::Qdt).is_empty());
        let swapped = SUCCESS.replace(
            "\"client_ip\":\"10.8.0.3\",\"gateway_ip\":\"10.8.0.1\"",
            "\"gateway_ip\":\"10.8.0.1\",\"client_ip\":\"10.8.0.3\"",
        );
        let swapped = answer(200, &[DATE], &swapped);
        assert_eq!(success(&swapped, 1350, None, Dialect::Qdt).len(), 1);
    }

    fn learned() -> Learned {
        Learned::from(serde_json::from_str(SUCCESS).expect("a response")).expect("a pool")
    }

    #[test]
    fn a_server_that_agrees_to_more_than_the_clamp_is_found_with_the_first_session() {
        let text = SUCCESS.replace("1242", "1350");
        let first = serde_json::from_str(&text).expect("a response");
        let too_large = answer(200, &[DATE], &text);
        for (dialect, count) in [(Dialect::Qdt, 1), (Dialect::Go, 0)] {
            let mut learned = Learned::from(Success::clone(&first)).expect("a pool");
            let found = success(&too_large, 65_535, Some(&mut learned), dialect);
            assert_eq!(found.len(), count, "{dialect:?}: {found:?}");
        }
    }

    #[test]
    fn no_session_has_the_id_or_the_nonce_of_an_earlier_one() {
        let other_id = SUCCESS.replace("18446744073709551615", "1");
        let other_nonce = SUCCESS.replace("r1PcM/V", "s1PcM/V");
        let both = other_id.replace("r1PcM/V", "t1PcM/V");
        let mut learned = learned();
        for (text, count) in [
            (SUCCESS, 0),
            (&other_id, 1),
            (&other_nonce, 1),
            (SUCCESS, 2),
            (&both, 1),
        ] {
            let answer = answer(200, &[DATE], text);
            let found = success(&answer, 1242, Some(&mut learned), Dialect::Qdt);
            assert_eq!(found.len(), count, "{text}: {found:?}");
        }
    }

    #[test]
    fn the_agreed_mtu_is_the_smaller_one_and_not_below_the_floor() {
        let learned = learned();
        for (asked, qdt, go) in [(1350, 1242, 1242), (900, 900, 900), (50, 576, 50)] {
            assert_eq!(learned.mtu(asked, Dialect::Qdt), qdt);
            assert_eq!(learned.mtu(asked, Dialect::Go), go);
        }
    }
}
