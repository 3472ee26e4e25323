//! Who is let in: so many calls at once, so many bytes of bodies at once. A full house says so at once, and when to
//! come again. Answers have room of their own (`unread`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What is in the house.
#[derive(Debug)]
pub(crate) struct Admission {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    max_calls: usize,
    max_bytes: usize,
}

/// A call that was let in; it leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    /// For the one body of its request.
    pub(crate) room: Room,
}

/// What is held of a call's bodies; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Admission {
    pub(crate) fn new(max_calls: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { calls: AtomicUsize::new(0), bytes: AtomicUsize::new(0), max_calls, max_bytes })
    }

    /// Calls in the house.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Bytes in the house.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Room for what is no call's.
    pub(crate) fn room(self: &Arc<Self>) -> Room {
        Room { admission: self.clone(), bytes: 0 }
    }

    pub(crate) fn admit(self: &Arc<Self>) -> Result<Permit, Status> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        // Made first, so that a refusal gives the place back.
        let permit = Permit { room: self.room() };
        if before >= self.max_calls {
            return Err(full(format!(
                "{} calls are in flight, which is all that may (max_calls)",
                self.max_calls
            )));
        }
        Ok(permit)
    }
}

impl Permit {
    /// Room of its own for what is read beside the answer, and may outlive it.
    pub(crate) fn more_room(&self) -> Room {
        self.room.admission.room()
    }
}

impl Room {
    /// The call is to hold `bytes` more.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Status> {
        let before = self.admission.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.admission.max_bytes {
            let max = self.admission.max_bytes;
            return Err(full(format!("the bodies in flight would be more than {max} bytes (max_bodies)")));
        }
        Ok(())
    }

    /// The call holds so much from now on.
    pub(crate) fn keep(&mut self, bytes: usize) -> Result<(), Status> {
        self.give_back(self.bytes.saturating_sub(bytes));
        if bytes > self.bytes { self.hold(bytes - self.bytes) } else { Ok(()) }
    }

    /// The call holds so much less than before.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.admission.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.room.admission.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// What is told who comes to a full house.
pub(crate) fn full(what: String) -> Status {
    let soon = ErrorDetails::with_retry_info(Some(Duration::from_millis(500)));
    Status::with_error_details(Code::ResourceExhausted, what, soon)
}

#[cfg(test)]
mod tests {
    use super::Admission;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    #[test]
    fn a_full_house_says_when_to_come_again() {
        let admission = Admission::new(1, 100);
        let inside = admission.admit().unwrap();
        let refused = admission.admit().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.get_details_retry_info().is_some());
        drop(inside);
        admission.admit().unwrap();
    }

    #[test]
    fn what_is_refused_holds_nothing() {
        let admission = Admission::new(10, 100);
        let mut one = admission.admit().unwrap();
        one.room.hold(90).unwrap();
        let mut other = admission.admit().unwrap();
        assert_eq!(other.room.hold(20).unwrap_err().code(), Code::ResourceExhausted);
        drop(other);
        one.room.hold(10).unwrap();
        drop(one);
        assert_eq!(admission.calls(), 0);
        admission.admit().unwrap().room.hold(100).unwrap();
    }
}
