//! Which changes find space on a disk that is nearly full. Pure. Making room is writing, too: what is deleted or has expired goes
//! into the log first, and the log begins anew only once all of it is in the database, which may have to grow for that. So what
//! adds something is refused while there is still space for that.

use crate::change::Change;
use crate::ticket::Failure;

const MIB: u64 = 1024 * 1024;

/// Stays free of what is new. As many changes as go into one transaction fit into the log with less, if they add nothing.
const KEPT: u64 = 24 * MIB;

/// Stays free of what ends.
const KEPT_OF_ENDS: u64 = KEPT / 2;

/// Stays free of what goes into pages that others have left, which makes the log longer, and only for a while; and of the last
/// ends of a process. With so much room is made bit by bit.
const KEPT_AT_LEAST: u64 = 4 * MIB;

/// What a change takes beside its bytes: pages of indexes, and what its own pages have left over.
const ROW: u64 = 16 * 1024;

/// No gateway takes longer requests.
const LONGEST: u64 = 2048 * MIB;

/// Where space is short, a log of so many bytes is worth taking in.
const WORTH: u64 = 4 * MIB;

/// What a change adds, in bytes.
#[derive(Clone, Copy)]
pub(crate) enum Adds {
    /// Nothing to speak of: it makes room, or needs none.
    Nothing,
    /// It ends an attempt.
    End(u64),
    /// It is more than there was.
    New(u64),
}

impl Adds {
    /// What a redrive copies is only known once its ticket is looked at: `book/rare.rs` takes that.
    pub(crate) fn of(change: &Change) -> Self {
        match change {
            Change::Submit(submission) => {
                let beside =
                    submission.labels.as_ref().map_or(0, String::len) + submission.ticket.metadata.len();
                Self::New(submission.request.unwritten() + beside as u64)
            }
            Change::Edit { request: Some(request), .. } => Self::New(request.len() as u64),
            Change::Piece { data, is_of_end: true, .. } => Self::End(data.len() as u64),
            Change::Piece { data, .. } => Self::New(data.len() as u64),
            Change::Input { parcel, .. } | Change::Results { parcel, .. } => {
                Self::New(parcel.body.unwritten() + parcel.head.len() as u64)
            }
            Change::Finish { ending, .. } => {
                let response = ending.response.as_ref().map_or(0, |(body, _)| body.unwritten());
                Self::End(response + ending.failure.as_ref().map_or(0, length))
            }
            Change::Retry { failure, .. } => Self::End(length(failure)),
            _ => Self::Nothing,
        }
    }

    /// What it takes, if it finds no pages that others have left: once in the log, and once in the database.
    fn most(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::End(bytes) | Self::New(bytes) => 2 * (bytes + ROW),
        }
    }
}

/// It is kept with its ticket, and with its attempt.
fn length(failure: &Failure) -> u64 {
    2 * (failure.message.len() + failure.details.len()) as u64
}

/// What all of them take at most. What is redriven may be as long as anybody may submit: where there is less space, the log is
/// taken in first.
pub(crate) fn needed(changes: &[Change]) -> u64 {
    let known: u64 = changes.iter().map(|change| Adds::of(change).most()).sum();
    let redrives = changes.iter().any(|change| matches!(change, Change::Redrive { .. }));
    known + if redrives { Adds::New(LONGEST).most() } else { 0 }
}

/// A disk as it is found, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Disk {
    pub(crate) free: u64,
    /// The log's file.
    pub(crate) log: u64,
}

/// The database on it.
#[derive(Clone, Copy)]
pub(crate) struct Database {
    /// By so much it has to grow for what is in the log.
    pub(crate) owed: u64,
    /// In pages that nothing is in any more.
    pub(crate) unused: u64,
}

impl Disk {
    /// What there is at least, without a look at the database: no more is owed than the log has.
    pub(crate) fn at_least(self) -> Space {
        Space::new(self.free.saturating_sub(self.log), 0)
    }

    pub(crate) fn space(self, database: Database) -> Space {
        Space::new(self.free.saturating_sub(database.owed), database.unused)
    }

    /// Whether the log is to be taken into the database first: nothing is owed then, and what the log had is free.
    pub(crate) fn is_short(self, database: Database, needed: u64) -> bool {
        !self.space(database).has(needed) && (database.owed > 0 || self.log > WORTH)
    }
}

/// What a transaction has space for.
#[derive(Clone, Copy)]
pub(crate) struct Space {
    /// Free, and owed to nobody.
    room: u64,
    unused: u64,
    /// Stays free of what ends.
    kept_of_ends: u64,
    takes_new: bool,
}

impl Space {
    /// Nobody counts it.
    pub(crate) const BOUNDLESS: Self = Self::new(u64::MAX, 0);

    const fn new(room: u64, unused: u64) -> Self {
        Self { room, unused, kept_of_ends: KEPT_OF_ENDS, takes_new: true }
    }

    /// Nobody is there to make room any more.
    pub(crate) fn for_last_ends(self) -> Self {
        Self { kept_of_ends: KEPT_AT_LEAST, ..self }
    }

    /// There was less than the system says. What ends is tried all the same: it may be less than what was tried before.
    pub(crate) fn without_new(self) -> Self {
        Self { takes_new: false, ..self }
    }

    /// Whether so many bytes may be added in any case.
    pub(crate) fn has(self, needed: u64) -> bool {
        self.room >= KEPT.saturating_add(needed)
    }

    /// Takes what a change needs, if there is so much.
    pub(crate) fn take(&mut self, adds: Adds) -> bool {
        let (bytes, kept) = match adds {
            Adds::Nothing => return true,
            Adds::End(bytes) => (bytes + ROW, self.kept_of_ends),
            Adds::New(_) if !self.takes_new => return false,
            Adds::New(bytes) => (bytes + ROW, KEPT),
        };
        let grows = bytes.saturating_sub(self.unused);
        let kept = if grows == 0 { KEPT_AT_LEAST } else { kept };
        let takes = bytes + grows;
        if self.room < kept + takes {
            return false;
        }
        self.room -= takes;
        self.unused -= bytes - grows;
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::{Adds, Database, Disk, KEPT, KEPT_AT_LEAST, KEPT_OF_ENDS, MIB, Space, needed};
    use crate::change::Change;
    use crate::ticket::TicketId;

    /// How many of these find space.
    fn taken(space: &mut Space, adds: Adds) -> usize {
        std::iter::from_fn(|| space.take(adds).then_some(())).take(1000).count()
    }

    #[test]
    fn what_is_new_leaves_room_for_ends_and_these_for_what_makes_room() {
        let mut space = Space::new(KEPT + 10 * MIB, 0);
        assert_eq!(taken(&mut space, Adds::New(MIB)), 4, "each goes into the log, and into the database");
        assert!(space.room >= KEPT);
        assert_eq!(taken(&mut space, Adds::End(MIB)), 6);
        assert!(space.room >= KEPT_OF_ENDS);
        let mut last = space.for_last_ends();
        assert_eq!(taken(&mut last, Adds::End(MIB)), 4, "the next process makes room");
        assert!(last.room >= KEPT_AT_LEAST && !last.take(Adds::New(0)));
        assert!(space.take(Adds::Nothing));
        let mut none = Space::new(0, 0);
        assert!(none.take(Adds::Nothing));
        assert!(!none.take(Adds::End(0)));
        let mut boundless = Space::BOUNDLESS;
        assert_eq!(taken(&mut boundless, Adds::New(1 << 40)), 1000);
    }

    #[test]
    fn a_piece_of_an_end_finds_space_as_the_end_does() {
        let piece = |is_of_end| Change::Piece { body: Uuid::nil(), number: 0, data: Bytes::new(), is_of_end };
        let mut space = Space::new(KEPT, 0);
        assert!(!space.take(Adds::of(&piece(false))));
        assert!(space.take(Adds::of(&piece(true))));
    }

    #[test]
    fn where_there_was_less_space_than_the_system_says_nothing_new_is_taken() {
        let mut space = Space::BOUNDLESS.without_new();
        assert!(!space.take(Adds::New(0)) && space.take(Adds::End(MIB)) && space.take(Adds::Nothing));
        let mut space = Space::new(KEPT, MIB).without_new();
        assert!(!space.take(Adds::New(0)), "be it in what others have left");
        let mut space = Space::new(KEPT_OF_ENDS, 0).without_new();
        assert!(!space.take(Adds::End(0)));
    }

    #[test]
    fn what_others_have_left_is_filled_again() {
        let mut space = Space::new(KEPT, 0);
        assert_eq!(taken(&mut space, Adds::New(MIB)), 0);
        space.unused = 4 * MIB;
        assert_eq!(taken(&mut space, Adds::New(MIB)), 3, "the fourth would let the database grow");
    }

    #[test]
    fn what_others_have_left_is_filled_again_on_a_disk_that_is_fuller() {
        let mut space = Space::new(11 * MIB, 1024 * MIB);
        assert!(space.take(Adds::End(0)));
        assert_eq!(taken(&mut space, Adds::New(MIB)), 6);
        assert!(space.room >= KEPT_AT_LEAST && !space.take(Adds::New(MIB)));
    }

    #[test]
    fn a_log_is_taken_in_before_its_disk_is_too_full_for_that() {
        let (disk, nothing) =
            (Disk { free: KEPT + 20 * MIB, log: 16 * MIB }, Database { owed: 0, unused: 0 });
        let owing = |mib| Database { owed: mib * MIB, unused: 0 };
        assert!(disk.at_least().has(4 * MIB) && !disk.at_least().has(5 * MIB));
        assert!(!disk.is_short(owing(16), 4 * MIB));
        assert!(disk.is_short(owing(16), 5 * MIB));
        assert!(disk.is_short(nothing, 21 * MIB), "its space is free then");
        assert!(!Disk { log: MIB, ..disk }.is_short(nothing, 21 * MIB), "it is hardly worth it");
        assert!(!disk.space(owing(100)).has(0));
    }

    #[test]
    fn a_log_is_taken_in_before_what_is_redriven_is_refused_for_it() {
        let redrive = Change::Redrive { dead: TicketId::new(), new: TicketId::new() };
        let disk = Disk { free: 100 * MIB, log: 64 * MIB };
        let needed = needed(&[redrive]);
        assert!(!disk.at_least().has(needed));
        assert!(disk.is_short(Database { owed: 0, unused: 0 }, needed));
    }
}
