//! What may become of a ticket: `waiting → running → done | failed | cancelled | dead`, never back. A table; both stores
//! and the gateway ask it, nobody else decides.

/// Where a ticket stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No attempt has begun.
    Waiting,
    /// An attempt has begun. Between two attempts it stays so.
    Running,
    /// The method has answered.
    Done,
    /// The method has answered an error that no repetition would mend, or a map was stopped by the failures of its items. A
    /// deadline that has passed is none of these: it was the attempt's.
    Failed,
    /// Somebody has cancelled it.
    Cancelled,
    /// Every attempt that it had has failed, or its input kills nodes. It can be edited and submitted again.
    Dead,
}

/// What happens to a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An attempt begins.
    Begin,
    /// The attempt has come to nothing, and another one is owed.
    Retry,
    /// The method has answered.
    Succeed,
    /// The method has answered an error that is final.
    Fail,
    /// No attempt is left.
    GiveUp,
    /// It was cancelled, and nothing of it runs any more.
    Cancel,
}

impl State {
    /// All of them, in the order in which they are passed.
    pub const ALL: [Self; 6] =
        [Self::Waiting, Self::Running, Self::Done, Self::Failed, Self::Cancelled, Self::Dead];

    /// The state after `event`, or `None` if it cannot happen in this one.
    pub fn after(self, event: Event) -> Option<Self> {
        match (self, event) {
            (Self::Waiting | Self::Running, Event::Begin) | (Self::Running, Event::Retry) => {
                Some(Self::Running)
            }
            (Self::Running, Event::Succeed) => Some(Self::Done),
            (Self::Running, Event::Fail) => Some(Self::Failed),
            (Self::Running, Event::GiveUp) => Some(Self::Dead),
            (Self::Waiting | Self::Running, Event::Cancel) => Some(Self::Cancelled),
            _ => None,
        }
    }

    /// Whether nothing happens to it any more.
    pub fn is_final(self) -> bool {
        !self.is_open()
    }

    /// Whether it waits or runs.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }

    /// Whether it has ended with an error.
    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::Dead)
    }

    /// As people and databases write it: `waiting`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    /// The state of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

#[cfg(test)]
mod tests;
