//! The `date` field of a response (RFC 9110 section 5.6.7). The time is an argument.

use std::time::{Duration, UNIX_EPOCH};

/// The last second of the year 9999, where the format's four digits end.
const LAST_SECOND: u64 = 253_402_300_799;

/// `unix_seconds` (UTC) as an IMF-fixdate, for example `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// Times after the year 9999 are written as its last second.
pub fn http_date(unix_seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(unix_seconds.min(LAST_SECOND)))
}
