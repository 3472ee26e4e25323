//! What an older build has left behind: parts of maps whose tickets are gone. It crossed such a map off the sweep's list after
//! 256 parts, and no list has the rest. Looked for once after each opening, by steps of the index, and taken out bit by bit.

use rusqlite::params;

use super::rows::Found;
use super::session::Session;
use crate::error::Error;
use crate::rows::Cells;

/// Tickets that one sweep looks at, until it finds one that is gone.
const LOOKED_AT: usize = 256;

/// The next ticket that there are parts of, and whether they are anybody's: its own, or the sweep's.
pub(super) const NEXT: &str = "SELECT p.ticket, EXISTS (SELECT 1 FROM ticket AS t WHERE t.id = p.ticket) \
    OR EXISTS (SELECT 1 FROM unfinished_body AS u WHERE u.body = p.ticket) \
    FROM part AS p WHERE p.ticket > ? ORDER BY p.ticket LIMIT 1";

/// What lies beside some parts of a ticket, and then these: each finds the same ones.
const PIECES: &str = "DELETE FROM piece WHERE body IN \
    (SELECT body FROM part WHERE ticket = ? ORDER BY ticket, log, number LIMIT 256)";
const PARTS: &str = "DELETE FROM part WHERE rowid IN \
    (SELECT rowid FROM part WHERE ticket = ? ORDER BY ticket, log, number LIMIT 256) RETURNING bytes";

/// How far it has been looked, and what was taken out.
#[derive(Clone)]
pub(super) struct Leftovers {
    /// Nothing is left up to this ticket; of `None`, at all, or nobody looks any more.
    after: Option<String>,
    parts: usize,
    bytes: u64,
}

impl Default for Leftovers {
    fn default() -> Self {
        Self { after: Some(String::new()), parts: 0, bytes: 0 }
    }
}

impl Leftovers {
    /// They lie where the database is damaged. One sweep fails at that, and the next does without: all that expires would wait
    /// behind what nobody asks for.
    pub(super) fn left_alone(why: &str) -> Self {
        tracing::warn!(
            why,
            "what an older build may have left of maps that are gone is not looked for any more"
        );
        Self { after: None, ..Self::default() }
    }

    pub(super) fn are_gone(&self) -> bool {
        self.after.is_none()
    }

    /// One sweep's share. Answers how far it is with that, which is so once the transaction is on disk.
    pub(super) fn sweep(&self, session: &mut Session) -> Result<Self, Error> {
        let mut then = self.clone();
        for _ticket in 0..LOOKED_AT {
            let Some(after) = then.after.take() else { break };
            let found = session.rows(NEXT, params![after])?;
            let Some((ticket, is_anybodys)) = found.first().and_then(next) else { break };
            if !is_anybodys {
                then.take_out(&ticket, session)?;
                // The next sweep finds what is left of it.
                then.after = Some(after);
                break;
            }
            then.after = Some(ticket);
        }
        Ok(then)
    }

    fn take_out(&mut self, ticket: &str, session: &mut Session) -> Result<(), Error> {
        session.write(PIECES, params![ticket])?;
        let gone = session.returned(PARTS, params![ticket])?;
        self.parts += gone.len();
        self.bytes += gone.iter().filter_map(|part| Cells::of(part).count::<u64>().ok()).sum::<u64>();
        Ok(())
    }

    /// The log hears of it when all are gone.
    pub(super) fn tell(&self) {
        if self.are_gone() && self.parts > 0 {
            tracing::info!(
                parts = self.parts,
                bytes = self.bytes,
                "what an older build had left of maps that are gone is deleted: the store uses its room again"
            );
        }
    }
}

fn next(row: &Found) -> Option<(String, bool)> {
    let mut cells = Cells::of(row);
    Some((cells.parsed().ok()?, cells.number().ok()? != 0))
}
