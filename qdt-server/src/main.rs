//! The QDT server: sessions, admission, limits, addresses, metrics.

fn main() {}
