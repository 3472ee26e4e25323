//! Looks at the write-ahead log before SQLite does. SQLite takes a frame that does not fit for the log's end, as it must:
//! a power cut leaves such an end. But everything that is acknowledged was on disk before the next transaction began, so
//! that behind a torn end there is never more than one transaction. Where there is more, the log was damaged, and what is
//! behind the damage would be lost without a word. The format is at <https://sqlite.org/fileformat2.html#walformat>.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use super::directory::LOCK;
use crate::error::Error;

const HEADER: usize = 32;
const FRAME: usize = 24;

/// Refuses a log that has lost what was acknowledged.
pub(super) fn check(log: &Path) -> Result<(), Error> {
    let file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(log, &error)),
    };
    match damage(BufReader::with_capacity(1 << 20, file)) {
        Ok(None) => Ok(()),
        Ok(Some(at)) => Err(Error::Unusable(format!(
            "the write-ahead log {0} is damaged at byte {at}, and what was acknowledged behind it is lost: put back a copy \
             of the data directory; or, to go on without that, run `sqlite3 {1} 'PRAGMA wal_checkpoint(TRUNCATE)'` and \
             delete {2}, which knows of it",
            log.display(),
            log.to_string_lossy().trim_end_matches("-wal"),
            log.with_file_name(LOCK).display(),
        ))),
        Err(error) => Err(unreadable(log, &error)),
    }
}

fn unreadable(log: &Path, error: &std::io::Error) -> Error {
    Error::Unusable(format!("the write-ahead log {} cannot be read: {error}", log.display()))
}

/// The byte at which a log is damaged, if it is.
fn damage(mut log: impl Read) -> std::io::Result<Option<u64>> {
    let mut header = [0; HEADER];
    if !filled(&mut log, &mut header)? {
        return Ok(None);
    }
    let big = word(&header, 0) & 1 == 1;
    let sum = summed((0, 0), &header[..24], big);
    if word(&header, 0) & !1 != 0x377f_0682 || sum != (word(&header, 24), word(&header, 28)) {
        // A header is written and synced before the first frame that needs it.
        return Ok(filled(&mut log, &mut [0; FRAME])?.then_some(0));
    }
    let mut frame = vec![0; FRAME + word(&header, 8) as usize];
    walk(log, &header, &mut frame, sum, big)
}

fn walk(
    mut log: impl Read,
    header: &[u8; HEADER],
    frame: &mut [u8],
    mut sum: (u32, u32),
    big: bool,
) -> std::io::Result<Option<u64>> {
    let (mut at, mut broken, mut commits) = (HEADER as u64, None, 0);
    while filled(&mut log, frame)? {
        if broken.is_none() {
            sum = summed(sum, &frame[..8], big);
            sum = summed(sum, &frame[FRAME..], big);
            let fits = frame[8..16] == header[16..24] && sum == (word(frame, 16), word(frame, 20));
            broken = (!fits).then_some(at);
        }
        // Frames of earlier rounds, which the log still has behind its end, have other salts.
        if broken.is_some() && frame[8..16] == header[16..24] && word(frame, 4) != 0 {
            commits += 1;
        }
        at += frame.len() as u64;
    }
    // Of a damaged frame that was a commit itself one cannot be sure, but of a second one behind it.
    Ok(broken.filter(|_| commits > 1))
}

/// Whether the log had so many bytes left.
fn filled(log: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<bool> {
    match log.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// SQLite's checksum, over pairs of words.
fn summed((mut first, mut second): (u32, u32), bytes: &[u8], big: bool) -> (u32, u32) {
    let number = |word: &[u8]| {
        let word = [word[0], word[1], word[2], word[3]];
        if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(number(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(number(&pair[4..])).wrapping_add(first);
    }
    (first, second)
}
