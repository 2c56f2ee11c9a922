//! The labels of `qdt_handshakes_total`, before and after a request.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use crate::Metrics;

/// Longest wait for a connection or a read.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A count may follow its answer by a moment.
const COUNTED_WITHIN: Duration = Duration::from_secs(2);

/// The metrics page of a server.
#[derive(Debug)]
pub(super) struct Page {
    host: String,
    path: String,
    last: BTreeMap<String, u64>,
}

impl Page {
    /// The page at `http://host:port/path`, read once.
    pub(super) fn open(url: &str) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| invalid("the address has to begin with http://"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
        let mut page = Self {
            host: host.into(),
            path: format!("/{path}"),
            last: BTreeMap::new(),
        };
        page.last = page.read()?;
        Ok(page)
    }

    /// The count of every label.
    fn read(&self) -> io::Result<BTreeMap<String, u64>> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let address = self.host.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| invalid("the host has no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        // HTTP/1.0: no chunks in the answer.
        write!(
            stream,
            "GET {} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.path, self.host
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1);
        if status != Some("200") {
            return Err(invalid(&format!(
                "the page answers {}",
                status.unwrap_or("no HTTP")
            )));
        }
        let counts = Metrics::parse(&answer).labels("qdt_handshakes_total", "result");
        if counts.is_empty() {
            return Err(invalid("the page has no qdt_handshakes_total"));
        }
        Ok(counts)
    }

    /// Differences between what was counted since the last call and `expected`.
    pub(super) fn differences(&mut self, expected: &BTreeMap<&str, u64>) -> Vec<String> {
        let deadline = Instant::now() + COUNTED_WITHIN;
        loop {
            let now = match self.read() {
                Ok(now) => now,
                Err(error) => return vec![format!("the metrics page cannot be read: {error}")],
            };
            let found = compare(&self.last, &now, expected);
            if found.is_empty() || Instant::now() >= deadline {
                self.last = now;
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn compare(
    before: &BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
    expected: &BTreeMap<&str, u64>,
) -> Vec<String> {
    let mut labels: Vec<&str> = now.keys().map(String::as_str).collect();
    labels.extend(expected.keys().filter(|label| !now.contains_key(**label)));
    let count = |counts: &BTreeMap<String, u64>, label| counts.get(label).copied().unwrap_or(0);
    labels
        .into_iter()
        .filter_map(|label| {
            let grown = count(now, label).saturating_sub(count(before, label));
            let wanted = expected.get(label).copied().unwrap_or(0);
            (grown != wanted)
                .then(|| format!("label {label} counted {grown} times instead of {wanted}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_was_not_to_count_is_a_difference_too() {
        let before = BTreeMap::from([("method".to_owned(), 1), ("busy".to_owned(), 4)]);
        let now = BTreeMap::from([("method".to_owned(), 1), ("busy".to_owned(), 5)]);
        let found = compare(&before, &now, &BTreeMap::from([("method", 1)]));
        assert_eq!(
            found,
            [
                "label busy counted 1 times instead of 0",
                "label method counted 0 times instead of 1"
            ]
        );
        assert!(compare(&before, &now, &BTreeMap::from([("busy", 1)])).is_empty());
    }
}
