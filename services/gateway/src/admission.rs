//! Who is let in: so many calls at once, so many bytes of bodies at once. A full house says so at once, and when to
//! come again; but a map that has begun waits, and all maps have half of the bytes. Answers have room of their own
//! (`unread`), but each keeps its call's place until it is written: a connection that leaves as many of them unread as
//! there are places left is let in no more, so that others find some.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::unread::Reader;

/// What is in the house.
#[derive(Debug)]
pub(crate) struct Admission {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    /// Those of them that are of maps.
    bytes_of_maps: AtomicUsize,
    /// Beside them, what results of maps have.
    results_of_maps: AtomicUsize,
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

/// What is held of a map's items, and of its results; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct RoomOfMap {
    admission: Arc<Admission>,
    bytes: usize,
    results: usize,
}

impl Admission {
    pub(crate) fn new(max_calls: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            bytes_of_maps: AtomicUsize::new(0),
            results_of_maps: AtomicUsize::new(0),
            max_calls,
            max_bytes,
        })
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

    /// Room for a map's items and results.
    pub(crate) fn room_of_map(self: &Arc<Self>) -> RoomOfMap {
        RoomOfMap { admission: self.clone(), bytes: 0, results: 0 }
    }

    /// Lets in a call of a service whose door has asked already, or of none.
    pub(crate) fn admit(self: &Arc<Self>) -> Result<Permit, Status> {
        self.enter().map(|(permit, _)| permit)
    }

    /// Lets in a call of this connection, unless it leaves too many answers unread. Its calls that run do not count.
    pub(crate) fn admit_beside(self: &Arc<Self>, reader: &Reader) -> Result<Permit, Status> {
        let (permit, before) = self.enter()?;
        self.share(before, reader)?;
        Ok(permit)
    }

    /// The same of a call that takes its place later.
    pub(crate) fn welcome(&self, reader: &Reader) -> Result<(), Status> {
        self.share(self.calls(), reader)
    }

    /// A place, and how many were taken before.
    fn enter(self: &Arc<Self>) -> Result<(Permit, usize), Status> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        // Made first, so that a refusal gives the place back.
        let permit = Permit { room: self.room() };
        if before >= self.max_calls {
            return Err(full(format!(
                "{} calls are in flight, which is all that may (max_calls)",
                self.max_calls
            )));
        }
        Ok((permit, before))
    }

    /// Refuses a connection that has as much as it leaves, or more, where so many are in the house.
    fn share(&self, inside: usize, reader: &Reader) -> Result<(), Status> {
        let max = self.max_calls;
        let left = max.saturating_sub(inside);
        let Some(unread) = reader.leaves_unread(left.max(1)) else { return Ok(()) };
        Err(full(format!(
            "of {max} places for calls (max_calls) {inside} are taken, and {unread} answers are ready that this connection \
             has not read, which is as many as are left, or more: read what has come"
        )))
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

    /// Whether there is room for so much more once nobody else holds any.
    pub(crate) fn could_hold(&self, bytes: usize) -> bool {
        self.bytes.saturating_add(bytes) <= self.admission.max_bytes
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

impl RoomOfMap {
    /// The map holds so many bytes from now on. It is asked before it takes items in, and not when they are there.
    pub(crate) fn keep(&mut self, bytes: usize) {
        // Below zero this wraps, and so do atomics.
        let more = bytes.wrapping_sub(self.bytes);
        for all in [&self.admission.bytes, &self.admission.bytes_of_maps] {
            all.fetch_add(more, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }

    /// The same of its results.
    pub(crate) fn keep_results(&mut self, bytes: usize) {
        let more = bytes.wrapping_sub(self.results);
        self.admission.results_of_maps.fetch_add(more, Ordering::Relaxed);
        self.results = bytes;
    }

    /// So many bytes of one map's results may be on their way here at once.
    pub(crate) fn at_once(&self) -> usize {
        self.admission.max_bytes / 8
    }

    /// So many bytes are left to the results of maps, which have half as many as all bodies may have.
    pub(crate) fn left_to_results(&self) -> usize {
        let Admission { results_of_maps, max_bytes, .. } = &*self.admission;
        (max_bytes / 2).saturating_sub(results_of_maps.load(Ordering::Relaxed))
    }

    /// So many bytes are left to maps: of the half of the house that all of them may have, or of the house. `None` where
    /// they hold as much as all of it, a message here and there above their half: then not even one more.
    pub(crate) fn left(&self) -> Option<usize> {
        let Admission { bytes, bytes_of_maps, max_bytes, .. } = &*self.admission;
        let of_maps = bytes_of_maps.load(Ordering::Relaxed);
        let left = |all: usize, taken: usize| all.saturating_sub(taken);
        let of_all = left(*max_bytes, bytes.load(Ordering::Relaxed));
        (of_maps < *max_bytes).then(|| left(max_bytes / 2, of_maps).min(of_all))
    }

    /// Refuses a map that holds nothing where there is room for no message more.
    pub(crate) fn welcome(&self) -> Result<(), Status> {
        if self.left().is_some() {
            return Ok(());
        }
        let max = self.admission.max_bytes;
        Err(full(format!(
            "items of maps take all of the {max} bytes that bodies may have (max_bodies): of this map has run what has a \
             result, and nothing else"
        )))
    }
}

impl Drop for RoomOfMap {
    fn drop(&mut self) {
        self.keep(0);
        self.keep_results(0);
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
    use super::{Admission, Permit, RoomOfMap};
    use crate::unread::{Ready, Unread};
    use proptest::prelude::*;
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

    #[test]
    fn who_reads_nothing_has_half_of_the_house_and_is_told_to_read() {
        let (admission, places) = (Admission::new(10, 0), Unread::new(0));
        let (reader, other) = (places.reader(), places.reader());
        let mut unread = Vec::new();
        let refused = loop {
            match admission.admit_beside(&reader) {
                Ok(permit) => unread.push((permit, reader.ready())),
                Err(refused) => break refused,
            }
        };
        assert_eq!((unread.len(), admission.calls()), (5, 5));
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let says = |what: &str| refused.message().contains(what);
        assert!(says("max_calls") && says("5 answers are ready") && says("read what has come"), "{refused}");
        assert!(refused.get_details_retry_info().is_some(), "nothing has run");
        assert!(admission.welcome(&reader).is_err() && admission.welcome(&other).is_ok());
        // Calls that run are no share, and a full house is full for everybody.
        let running: Vec<_> = (0..5).map(|_| admission.admit_beside(&other).unwrap()).collect();
        assert!(admission.admit_beside(&other).is_err() && admission.welcome(&other).is_ok());
        drop(running);
        unread.pop();
        admission.admit_beside(&reader).unwrap();
    }

    /// Byte by byte, as long as it may.
    fn fill(map: &mut RoomOfMap) -> usize {
        let mut held = 0;
        while map.left().is_some_and(|left| held < left) {
            held += 1;
            map.keep(held);
        }
        held
    }

    #[test]
    fn maps_that_take_all_they_may_leave_half_of_the_room_to_others() {
        let admission = Admission::new(10, 1000);
        let mut maps = [(); 5].map(|()| admission.room_of_map());
        assert_eq!(maps.each_mut().map(fill), [250, 125, 63, 31, 16]);
        let mut call = admission.admit().unwrap();
        call.room.hold(500).unwrap();
        assert_eq!(maps[0].left(), Some(15));
        call.room.hold(10).unwrap();
        assert_eq!(maps[0].left(), Some(5), "what others have of their half, they have");
        maps[0].keep(10);
        assert_eq!((maps[1].left(), admission.bytes()), (Some(245), 755));
        // What a map has taken in it holds, though nobody else has room then.
        maps[0].keep(700);
        assert!(maps[1].left() == Some(0) && admission.room().hold(1).is_err());
        drop((maps, call));
        assert_eq!((admission.bytes(), admission.room_of_map().left()), (0, Some(500)));
    }

    #[test]
    fn where_maps_have_all_of_the_house_one_more_is_told_when_to_come_again() {
        let admission = Admission::new(10, 1000);
        let (mut first, next) = (admission.room_of_map(), admission.room_of_map());
        let mut call = admission.admit().unwrap();
        call.room.hold(1000).unwrap();
        first.keep(999);
        assert_eq!(next.left(), Some(0));
        next.welcome().expect("one more may have a message, however full the house");
        first.keep(1000);
        let refused = next.welcome().unwrap_err();
        assert_eq!((next.left(), refused.code()), (None, Code::ResourceExhausted));
        assert!(refused.message().contains("1000 bytes that bodies may have (max_bodies)"), "{refused}");
        assert!(refused.get_details_retry_info().is_some());
        drop(first);
        next.welcome().unwrap();
    }

    const PLACES: usize = 64;
    /// The n-th of those that read nothing has half of what the others leave: with one more there would be none.
    const CONNECTIONS: usize = 6;

    proptest! {
        /// In whatever order they call, and read now and then: each has no more than it leaves, and who reads is let in.
        #[test]
        fn those_who_read_little_keep_nobody_out(
            steps in prop::collection::vec((0..CONNECTIONS, prop::bool::weighted(0.1)), 0..500),
        ) {
            let (admission, places) = (Admission::new(PLACES, 0), Unread::new(0));
            let (readers, reads_all) = ([(); CONNECTIONS].map(|()| places.reader()), places.reader());
            let mut unread: [Vec<(Permit, Ready)>; CONNECTIONS] = Default::default();
            for (connection, reads) in steps {
                if reads {
                    unread[connection].pop();
                    continue;
                }
                let (mine, left) = (unread[connection].len(), PLACES - admission.calls());
                match admission.admit_beside(&readers[connection]) {
                    Ok(permit) => {
                        prop_assert!(mine < left);
                        unread[connection].push((permit, readers[connection].ready()));
                    }
                    Err(_) => prop_assert!(mine >= left),
                }
                prop_assert!(admission.admit_beside(&reads_all).is_ok());
                prop_assert_eq!(admission.calls(), unread.iter().map(Vec::len).sum::<usize>());
            }
        }
    }
}
