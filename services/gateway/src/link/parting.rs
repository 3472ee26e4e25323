//! How a node goes: one that has said so leaves; any other is lost, be it killed, or out of reach.

use std::fmt;

use crate::link::Link;

/// What is said of a node that has gone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parting {
    Left,
    Lost,
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Lost => "was lost",
        })
    }
}

impl Link {
    /// How its node went, if it has.
    pub(crate) fn parting(&self) -> Parting {
        if self.is_leaving() { Parting::Left } else { Parting::Lost }
    }
}
