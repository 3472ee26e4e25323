//! What the edge says to those whose call it ends: why, and what to do. Not what nodes and stores say.

use std::borrow::Cow;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use turno_proto::status::{NOT_BEGUN, because};
use turno_runtime::units::Rounded;

use crate::methods::{Methods, ON_THEIR_WAY};
use crate::quote::beginning;

/// What is told of a method that nobody has served.
pub(crate) fn unknown(path: &str) -> Status {
    Status::unimplemented(format!(
        "no node has served {} since this gateway started; `turno methods` lists what is served",
        name(path)
    ))
}

/// And of one that has not appeared yet. As long as no node at all has joined, any method may: who comes again may
/// find it, and nothing has run, nor is anything stored.
pub(crate) fn unserved(methods: &Methods, patience: Duration, path: &str) -> Status {
    if methods.first().is_some() {
        return unknown(path);
    }
    let what = format!(
        "no node has joined since this gateway started, and none came within {}: nobody serves {} yet",
        Rounded(patience),
        name(path)
    );
    Status::with_error_details(Code::Unavailable, what, ErrorDetails::with_retry_info(Some(ON_THEIR_WAY)))
}

/// A path as people write the method: "gallery.v1.Gallery/Thumbnail".
pub(crate) fn name(path: &str) -> Cow<'_, str> {
    beginning(path.strip_prefix('/').unwrap_or(path))
}

/// Before a call that has not run comes to another gateway, or to the next one here.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// What is told of a call that no node has had when the time to drain is over.
pub(crate) fn not_begun(name: &str) -> Status {
    let what = format!(
        "the gateway is ending, and no node had {name} when its time to drain was over: it has not run; call again, be it \
         at another gateway"
    );
    let mut details = because(NOT_BEGUN);
    details.set_retry_info(Some(ELSEWHERE));
    Status::with_error_details(Code::Unavailable, what, details)
}

/// And of one that a node has, or has had, as of one whose node was lost.
pub(crate) fn ending(name: &str) -> Status {
    Status::unavailable(format!(
        "the gateway is ending, and {name} was not done when its time to drain was over: it may have run"
    ))
}

/// `limit`: what it was given, by its caller, its method or this gateway.
pub(crate) fn too_late(name: &str, limit: Duration) -> Status {
    Status::deadline_exceeded(format!("{name} was not done within {}", Rounded(limit)))
}
