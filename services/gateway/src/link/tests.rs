//! What becomes of large answers that come by a link.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use turno_proto::mesh::v1::{Hello, Invocation, Outcome};
use turno_proto::status;

use super::{Answer, Link, Lost};
use crate::scheduler::WorkerId;
use crate::unread::Unread;

/// The answer to the call of this number, of 20,000 bytes when it came.
async fn answered(link: &Link, call: u64, asking: impl Future<Output = Result<Answer, Lost>>) -> Outcome {
    let mut asking = std::pin::pin!(asking);
    assert!(asking.as_mut().now_or_never().is_none(), "nobody has answered it yet");
    link.outcome(Outcome { call, body: vec![7; 20_000].into(), ..Outcome::default() });
    asking.await.unwrap().outcome
}

#[tokio::test]
async fn a_large_answer_needs_room_unless_who_asked_takes_it_in_any_case() {
    let unread = Unread::new(60_000);
    let reader = Some(unread.reader());
    let (down, _invocations) = mpsc::channel(8);
    let peer = "127.0.0.1:1".parse().unwrap();
    let link = Link::new(WorkerId(1), Hello::default(), peer, down, 64 * 1024);
    let (link, stop) = (Arc::new(link), CancellationToken::new());
    let kept = answered(&link, 1, link.unary(Invocation::default(), None, reader.clone())).await;
    assert_eq!((kept.body.len(), unread.bytes()), (20_000, 20_000));
    let lost = answered(&link, 2, link.unary(Invocation::default(), None, reader.clone())).await;
    assert_eq!((status::code_of(lost.code), lost.body.len()), (Code::ResourceExhausted, 0));
    let taken = answered(&link, 3, link.stoppable(Invocation::default(), None, &stop)).await;
    assert_eq!((taken.body.len(), unread.bytes()), (20_000, 20_000));
    let another = Some(unread.reader());
    let kept_too = answered(&link, 4, link.unary(Invocation::default(), None, another)).await;
    assert_eq!((kept_too.body.len(), unread.bytes()), (20_000, 40_000));
    drop((kept, kept_too));
    let next = answered(&link, 5, link.unary(Invocation::default(), None, reader)).await;
    assert_eq!(next.body.len(), 20_000);
}
