//! What a call has been through, and whether it may be tried again. What was not handed over goes elsewhere unseen, as
//! gRPC's transparent retries do; what may have run is repeated only if its `idempotency_level` allows, if the retry
//! budget has room, and if its input has not killed nodes before.

use std::time::Duration;

use tonic::Status;
use turno_proto::mesh::v1::Outcome;
use turno_proto::status;

use crate::calls::Call;
use crate::course::Course;
use crate::link::Link;
use crate::link::pending::Lost;
use crate::trouble::Trouble;

/// The attempts of one call so far.
pub(crate) struct Attempts<'a> {
    trouble: &'a Trouble,
    handed_back: u32,
}

const PAUSE: Duration = Duration::from_millis(20);
/// A node that cannot be given work is soon known to be gone; this bounds what happens until then.
const MOST_HANDED_BACK: u32 = 100;

impl<'a> Attempts<'a> {
    pub(crate) fn new(trouble: &'a Trouble) -> Self {
        Self { trouble, handed_back: 0 }
    }

    /// A link that has just broken may be chosen again until its node is known to be gone.
    pub(crate) async fn pause(&self) {
        if self.handed_back > 1 {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A node has handed the call back; nothing of it ran.
    pub(crate) fn not_started(&mut self, outcome: Outcome, course: &Course) -> Result<(), Status> {
        course.unstarted();
        self.handed_back += 1;
        if self.handed_back > MOST_HANDED_BACK { Err(status::from_outcome(outcome)) } else { Ok(()) }
    }

    /// Its node is gone. Answers whether it may be tried again.
    pub(crate) fn lost(
        &mut self,
        lost: Lost,
        call: &Call,
        link: &Link,
        course: &Course,
    ) -> Result<(), Status> {
        let node = &link.hello.name;
        if !lost.may_have_run {
            course.unstarted();
            self.handed_back += 1;
            let given_up = self.handed_back > MOST_HANDED_BACK;
            return if given_up {
                Err(Status::unavailable(format!("node {node} could not be reached")))
            } else {
                Ok(())
            };
        }
        self.trouble.died(call, link)?;
        let (name, went) = (call.method.name(), link.parting());
        if !call.method.served().repeatable {
            return Err(Status::unavailable(format!(
                "node {node} {went} while {name} was there: it may have run; it was not tried again, since its \
                 idempotency_level does not say that it may be repeated"
            )));
        }
        if !self.trouble.may_repeat() {
            return Err(Status::unavailable(format!(
                "node {node} {went} while {name} was there: it was not tried again, since more than a fifth of all \
                 calls would be repetitions (the retry budget)"
            )));
        }
        tracing::info!(method = name, node, "node {went}: running it again elsewhere");
        Ok(())
    }
}
