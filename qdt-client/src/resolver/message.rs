//! DNS messages (RFC 1035): address queries and their responses.
//!
//! Invariants: no I/O; no message causes a panic, a loop or more memory than its own length. A
//! response counts only with the id and the question of its query; addresses count only for the
//! queried name or a target of its aliases.

use std::net::IpAddr;

const HEADER_LEN: usize = 12;
const CLASS_IN: u16 = 1;
const TYPE_CNAME: u16 = 5;
/// The longest name in a message (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
/// The most aliases that are followed.
const MAX_ALIASES: usize = 16;

/// The type of the queried records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Aaaa => 28,
        }
    }
}

/// The response of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// The name's addresses of the queried type, possibly none.
    Addresses(Vec<IpAddr>),
    /// The name does not exist.
    NoName,
    /// The response does not fit a datagram.
    Truncated,
    /// The server failed or refused; the response code.
    Failed(u8),
}

/// Returns the query for `name`, or `None` where that is not a valid DNS name.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut message = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok()?;
        if !(1..=63).contains(&length) {
            return None;
        }
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    if message.len() - HEADER_LEN > MAX_NAME {
        return None;
    }
    message.extend_from_slice(&kind.number().to_be_bytes());
    message.extend_from_slice(&CLASS_IN.to_be_bytes());
    Some(message)
}

/// Parses `message` as the response to `question`, from [`question`]; `None` where it is not one.
pub(super) fn reply(message: &[u8], question: &[u8]) -> Option<Reply> {
    let header = message.first_chunk::<HEADER_LEN>()?;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let (is_response, opcode) = (header[2] & 0x80 != 0, header[2] >> 3 & 0xf);
    let asked = message.get(HEADER_LEN..question.len())?;
    let same = asked.eq_ignore_ascii_case(question.get(HEADER_LEN..)?);
    if header[..2] != question[..2] || !is_response || opcode != 0 || count(4) != 1 || !same {
        return None;
    }
    match header[3] & 0xf {
        0 => {}
        3 => return Some(Reply::NoName),
        code => return Some(Reply::Failed(code)),
    }
    if header[2] & 2 != 0 {
        return Some(Reply::Truncated);
    }
    addresses(message, question.len(), count(6)).map(Reply::Addresses)
}

/// Returns the addresses of the name in the question, which ends at `at`.
fn addresses(message: &[u8], mut at: usize, records: u16) -> Option<Vec<IpAddr>> {
    let (mut wanted, _) = name(message, HEADER_LEN)?;
    let kind = u16::from_be_bytes(*message.get(at - 4..)?.first_chunk()?);
    let (mut aliases, mut found) = (Vec::new(), Vec::new());
    for _ in 0..records {
        let (owner, fixed) = name(message, at)?;
        let &[t0, t1, c0, c1, _, _, _, _, l0, l1] = message.get(fixed..)?.first_chunk::<10>()?;
        let (start, length) = (fixed + 10, usize::from(u16::from_be_bytes([l0, l1])));
        let data = message.get(start..start + length)?;
        at = start + length;
        let record = u16::from_be_bytes([t0, t1]);
        if u16::from_be_bytes([c0, c1]) != CLASS_IN {
            continue;
        }
        if record == TYPE_CNAME {
            aliases.push((owner, name(message, start)?.0));
        } else if record == kind
            && let Some(address) = address(data)
        {
            found.push((owner, address));
        }
    }
    for _ in 0..MAX_ALIASES {
        match aliases.iter().find(|(owner, _)| *owner == wanted) {
            Some((_, target)) => wanted.clone_from(target),
            None => break,
        }
    }
    let of_wanted = found.into_iter().filter(|(owner, _)| *owner == wanted);
    Some(of_wanted.map(|(_, address)| address).collect())
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(IpAddr::from(*data.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*data.first_chunk::<16>()?)),
        _ => None,
    }
}

/// Returns the name at `at`, in lower case and without compression, and the offset behind it.
fn name(message: &[u8], at: usize) -> Option<(Vec<u8>, usize)> {
    let (mut name, mut position, mut end) = (Vec::new(), at, None);
    // Pointers only point backwards, so the loop ends.
    let mut lowest = at;
    loop {
        let length = *message.get(position)?;
        match length >> 6 {
            0 if length == 0 => return Some((name, end.unwrap_or(position + 1))),
            0 => {
                let label = message.get(position..=position + usize::from(length))?;
                name.extend(label.iter().map(u8::to_ascii_lowercase));
                if name.len() > MAX_NAME {
                    return None;
                }
                position += 1 + usize::from(length);
            }
            3 => {
                let target = u16::from_be_bytes([length & 0x3f, *message.get(position + 1)?]);
                end = end.or(Some(position + 2));
                position = usize::from(target);
                if position >= lowest {
                    return None;
                }
                lowest = position;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An answer with these flags and records behind the question for `www.example.org`.
    fn answer(flags: [u8; 2], records: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        let question = question(7, "www.example.org", Kind::A).unwrap();
        let mut message = question.clone();
        message[2..4].copy_from_slice(&flags);
        message[7] = records.len() as u8;
        message.extend(records.concat());
        (message, question)
    }

    const ADDRESS: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];

    #[test]
    fn the_addresses_of_the_name_that_was_asked_for_are_found() {
        let (message, question) = answer([0x81, 0x80], &[ADDRESS]);
        let found = Reply::Addresses(vec!["192.0.2.1".parse().unwrap()]);
        assert_eq!(reply(&message, &question), Some(found.clone()));
        let upper = message.to_ascii_uppercase();
        assert_eq!(reply(&upper, &question), Some(found));
        assert!(super::question(1, "a..b", Kind::A).is_none());
        assert!(super::question(1, &"a".repeat(64), Kind::A).is_none());
        assert!(super::question(1, &"abc.".repeat(70), Kind::A).is_none());
    }

    #[test]
    fn aliases_lead_to_addresses_and_those_of_other_names_do_not_count() {
        // www.example.org is an alias of example.org, whose name stands at 16 of the question.
        let alias = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 16];
        let mut target = ADDRESS.to_vec();
        target[1] = 16;
        let (message, question) = answer([0x81, 0x80], &[&alias, &target]);
        let found = Reply::Addresses(vec!["192.0.2.1".parse().unwrap()]);
        assert_eq!(reply(&message, &question), Some(found));
        let (message, question) = answer([0x81, 0x80], &[&target]);
        assert_eq!(
            reply(&message, &question),
            Some(Reply::Addresses(Vec::new()))
        );
        // An alias of itself.
        let circle = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 12];
        let (message, question) = answer([0x81, 0x80], &[&circle]);
        assert_eq!(
            reply(&message, &question),
            Some(Reply::Addresses(Vec::new()))
        );
    }

    #[test]
    fn only_an_answer_to_the_very_question_counts() {
        let (message, question) = answer([0x81, 0x80], &[ADDRESS]);
        for (at, value) in [(0, 9), (2, 1), (5, 2), (13, b'x'), (29, 28)] {
            let mut other = message.clone();
            other[at] = value;
            assert_eq!(reply(&other, &question), None, "byte {at}");
        }
        let code = |code: u8| answer([0x81, 0x80 | code], &[]);
        let read = |(message, question): (Vec<u8>, Vec<u8>)| reply(&message, &question);
        assert_eq!(read(code(3)), Some(Reply::NoName));
        assert_eq!(read(code(2)), Some(Reply::Failed(2)));
        assert_eq!(read(answer([0x83, 0x80], &[])), Some(Reply::Truncated));
    }

    proptest! {
        #[test]
        fn no_message_leads_to_a_panic(
            records in proptest::collection::vec(any::<u8>(), 0..300),
            count in any::<u8>(),
        ) {
            let (mut message, question) = answer([0x81, 0x80], &[&records]);
            message[7] = count;
            let _ = reply(&message, &question);
            let _ = reply(&records, &question);
            let _ = name(&records, 0);
        }

        #[test]
        fn pointers_never_loop(
            bytes in proptest::collection::vec(prop_oneof![Just(0xc0_u8), 0..40_u8], 0..200),
            at in 0..200_usize,
        ) {
            let _ = name(&bytes, at);
        }
    }
}
