//! What a stream says of its input. One that has ended, or has gone on for a while, speaks for it; one whose node was lost
//! before, against it. Its first message says nothing yet: what kills a node behind it would be acquitted each time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::Status;

use super::Call;
use crate::link::Link;
use crate::link::pending::Event;
use crate::router::Router;

/// A stream that has begun, as a witness.
pub(crate) struct Trial {
    router: Arc<Router>,
    call: Call,
    since: Instant,
}

/// Streams that are to go on for ever speak for their input too.
const LONG_ENOUGH: Duration = Duration::from_secs(10);

impl Trial {
    pub(super) fn new(router: Arc<Router>, call: Call) -> Self {
        Self { router, call, since: Instant::now() }
    }

    /// Whether this is what it speaks by.
    pub(crate) fn is_over(&self, event: &Event) -> bool {
        matches!(event, Event::End(_)) || self.is_long()
    }

    /// Speaks, by what has come by `link`. An error when the input has now gone down with two nodes.
    pub(crate) fn speak(self, event: &Event, link: &Link) -> Result<(), Status> {
        let trouble = &self.router.trouble;
        if matches!(event, Event::End(Err(_))) && !self.is_long() {
            return trouble.died(&self.call, link);
        }
        trouble.acquit(&self.call);
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.since.elapsed() >= LONG_ENOUGH
    }
}
