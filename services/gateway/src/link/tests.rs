//! What becomes of large answers that come by a link, and what outcomes say of a worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use turno_proto::mesh::v1::{Cost, Hello, Invocation, Outcome};
use turno_proto::status;

use super::pending::Hold;
use super::{Answer, Link, Lost};
use crate::queue::{JobQueue, News};
use crate::scheduler::{Job, Limits, MethodId, Standing, WorkerId};
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
    let taken = answered(&link, 3, link.stoppable(Invocation::default(), None, None, &stop)).await;
    assert_eq!((taken.body.len(), unread.bytes()), (20_000, 20_000));
    let another = Some(unread.reader());
    let kept_too = answered(&link, 4, link.unary(Invocation::default(), None, another)).await;
    assert_eq!((kept_too.body.len(), unread.bytes()), (20_000, 40_000));
    drop((kept, kept_too));
    let next = answered(&link, 5, link.unary(Invocation::default(), None, reader)).await;
    assert_eq!(next.body.len(), 20_000);
}

/// Two workers: one takes a second for each job, the other a millisecond, answers with this code, and is perhaps given up
/// by then. How often one was set aside.
async fn verdicts_beside_one_that_is_quick(code: Code, is_given_up: bool) -> usize {
    const METHOD: MethodId = MethodId(0);
    const JOB: Job = Job::call(METHOD);
    let (queue, told) =
        (JobQueue::new(Limits { waiting: 10, batch_share: 0.0 }), Arc::new(AtomicUsize::new(0)));
    let (down, _invocations) = mpsc::channel(1_000);
    let links = [1, 2].map(|id| {
        let told = told.clone();
        queue.join(WorkerId(id), 1, vec![METHOD], move |news| {
            let is_aside = matches!(news, News::Stands(Standing::Aside { .. }));
            told.fetch_add(usize::from(is_aside), Ordering::Relaxed);
        });
        let peer = "127.0.0.1:1".parse().unwrap();
        Arc::new(Link::new(WorkerId(id), Hello::default(), peer, down.clone(), 64 * 1024))
    });
    for call in 1..=64 {
        // One poll of a task has so many steps of channels, and no more.
        tokio::task::yield_now().await;
        for place in [(); 2].map(|()| queue.place_now(&JOB).unwrap()) {
            let is_quick = place.worker == WorkerId(2);
            let link = &links[usize::from(is_quick)];
            let mut asking = Box::pin(link.unary(Invocation::default(), Some(Hold::Place(place)), None));
            assert!(asking.as_mut().now_or_never().is_none(), "nobody has answered it yet");
            if is_quick && is_given_up {
                drop(asking);
            }
            let (run_us, code) = if is_quick { (1_000, code) } else { (1_000_000, Code::Ok) };
            let cost = Some(Cost { run_us, ..Cost::default() });
            link.outcome(Outcome { call, code: code as u32, cost, ..Outcome::default() });
        }
    }
    told.load(Ordering::Relaxed)
}

#[tokio::test]
async fn only_what_was_done_says_how_fast_a_worker_is() {
    assert_eq!(verdicts_beside_one_that_is_quick(Code::Ok, false).await, 1);
    assert_eq!(verdicts_beside_one_that_is_quick(Code::NotFound, false).await, 0);
    assert_eq!(verdicts_beside_one_that_is_quick(Code::Ok, true).await, 0);
}
