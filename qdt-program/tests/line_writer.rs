//! Lines on their way to a reader that stalls, comes back or goes away.
#![allow(clippy::unwrap_used, reason = "a test ends where an expectation fails")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::time::{Duration, Instant};

use qdt_program::LineWriter;

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn notice(count: u64) -> String {
    format!("missing {count}\n")
}

/// Fills a pipe, leaves it non-blocking and returns the bytes in it.
fn fill(pipe: &mut PipeWriter) -> usize {
    rustix::io::ioctl_fionbio(&*pipe, true).unwrap();
    let mut size = 0;
    while let Ok(length) = pipe.write(&[b'.'; 4096]) {
        size += length;
    }
    size
}

/// A writer whose pipe is full, so that its first line waits for the reader, and the bytes that are
/// in the way.
fn stalled() -> (LineWriter, PipeReader, usize) {
    let (reader, mut pipe) = pipe().unwrap();
    let size = fill(&mut pipe);
    rustix::io::ioctl_fionbio(&pipe, false).unwrap();
    (LineWriter::start(pipe, notice).unwrap(), reader, size)
}

/// Waits until `count` lines have been dropped.
fn wait_for_dropped(writer: &LineWriter, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    while writer.dropped() < count {
        assert!(Instant::now() < deadline, "{writer:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_line_waits_for_no_reader_and_what_did_not_fit_is_counted_where_it_is_missing() {
    let (writer, mut reader, size) = stalled();
    // The second is far more than may wait.
    let lines = 100_000;
    for number in 0..lines {
        writer.push(&format!("line {number}\n"));
    }
    let dropped = writer.dropped();
    assert!(dropped > 0 && dropped < lines, "{dropped}");
    assert!(!writer.flush(Duration::from_millis(1)), "nobody reads");

    reader.read_exact(&mut vec![0; size]).unwrap();
    let mut read = BufReader::new(reader).lines().map(Result::unwrap);
    // The writer may take its first line only once the queue is full: then a line found room
    // between two gaps.
    let (mut number, mut missing) = (0, 0);
    while number < lines {
        let line = read.next().unwrap();
        if let Some(count) = line.strip_prefix("missing ") {
            let count: u64 = count.parse().unwrap();
            number += count;
            missing += count;
        } else {
            assert_eq!(line, format!("line {number}"));
            number += 1;
        }
    }
    assert_eq!((number, missing), (lines, dropped));
    assert!(writer.flush(PATIENCE));
    writer.push("after\n");
    assert_eq!(read.next().unwrap(), "after");
    assert_eq!(writer.dropped(), dropped);
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let (reader, pipe) = pipe().unwrap();
    let writer = LineWriter::start(pipe, notice).unwrap();
    for number in 0..100 {
        writer.push(&format!("line {number}\n"));
    }
    assert!(writer.flush(PATIENCE));
    let read: Vec<_> = BufReader::new(reader)
        .lines()
        .take(100)
        .map(Result::unwrap)
        .collect();
    assert_eq!(read.last().unwrap(), "line 99");
}

#[test]
fn a_reader_that_went_away_costs_lines_and_nothing_else() {
    let (reader, pipe) = pipe().unwrap();
    let writer = LineWriter::start(pipe, notice).unwrap();
    drop(reader);
    for _ in 0..10 {
        writer.push("to nobody\n");
    }
    assert!(writer.flush(PATIENCE), "there is nothing more to try");
    assert_eq!(writer.dropped(), 10);
}

#[test]
fn a_full_disk_costs_lines_until_there_is_room() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let writer = LineWriter::start(full, notice).unwrap();
    writer.push("no room\n");
    wait_for_dropped(&writer, 1);
    assert!(writer.flush(PATIENCE));
}

#[test]
fn a_stdout_that_somebody_made_non_blocking_loses_nothing() {
    let (mut reader, mut pipe) = pipe().unwrap();
    let size = fill(&mut pipe);
    let writer = LineWriter::start(pipe, notice).unwrap();
    writer.push("a line\n");
    assert!(!writer.flush(Duration::from_millis(20)), "nobody reads");
    reader.read_exact(&mut vec![0; size]).unwrap();
    assert!(writer.flush(PATIENCE));
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), writer.dropped()), ("a line\n", 0));
}
