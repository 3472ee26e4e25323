//! What becomes of changes behind a store that does as it is told here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{Ledger, Order, PATIENCE, Refused, WAITING, write};
use crate::change::{Answer, Answered, Change};
use crate::error::Error;
use crate::store::Submitted;
use crate::ticket::{Attempt, GatewayId, TicketId, Timestamp};

/// What a transaction comes to.
type Made = Result<Vec<Answered>, Error>;

/// A ledger that answers one transaction after another, and is asked for no other. Orders that come meanwhile lie beside.
struct Scripted {
    script: VecDeque<(Vec<Order>, Made)>,
    orders: Option<mpsc::Sender<Order>>,
    asked: Arc<Mutex<Vec<usize>>>,
}

impl Ledger for Scripted {
    async fn apply(&mut self, changes: &[Change]) -> Made {
        self.asked.lock().push(changes.len());
        let (behind, made) = self.script.pop_front().expect("it is asked for no other");
        let orders = self.orders.as_ref().expect("orders come as long as there is a script");
        assert!(behind.into_iter().all(|order| orders.try_send(order).is_ok()));
        if self.script.is_empty() {
            self.orders = None;
        }
        made
    }
}

/// Writes what was ordered, and then what the script has; answers of how many changes each transaction was.
async fn written(ordered: Vec<Order>, script: Vec<(Vec<Order>, Made)>) -> Vec<usize> {
    let (orders, waiting) = mpsc::channel(WAITING);
    assert!(ordered.into_iter().all(|order| orders.try_send(order).is_ok()));
    let asked = Arc::default();
    let ledger = Scripted { script: script.into(), orders: Some(orders), asked: Arc::clone(&asked) };
    write(ledger, waiting, Refused::new(None)).await;
    let asked = asked.lock();
    asked.clone()
}

fn order() -> (Order, oneshot::Receiver<Answered>) {
    waiting_for(Duration::ZERO)
}

/// One that has waited for so long.
fn waiting_for(time: Duration) -> (Order, oneshot::Receiver<Answered>) {
    let (answer, answered) = oneshot::channel();
    let came = Instant::now().checked_sub(time).expect("this machine runs for longer");
    (Order { change: Change::Expire(1), came, answer }, answered)
}

fn made() -> Made {
    Ok(vec![Ok(Answer::Nothing)])
}

fn away() -> Made {
    Err(Error::Away("it is gone".into()))
}

async fn is_away(answered: oneshot::Receiver<Answered>) -> bool {
    matches!(answered.await.unwrap(), Err(Error::Away(_)))
}

#[tokio::test]
async fn that_a_store_does_not_answer_is_told_to_everybody_once() {
    let ((one, first), (other, second)) = (order(), order());
    let gone = Err(Error::Unavailable("the link is broken".into()));
    assert_eq!(written(vec![one, other], vec![(Vec::new(), gone)]).await, [2]);
    for answered in [first, second] {
        let told = answered.await.unwrap().map(|_| ()).unwrap_err();
        assert_eq!(told.to_string(), "the store does not answer: the link is broken");
    }
}

#[tokio::test]
async fn who_has_waited_behind_a_store_that_is_away_is_not_tried() {
    let ((first, one), (long, other), (short, third)) = (order(), waiting_for(PATIENCE), order());
    let script = vec![(vec![long, short], away()), (Vec::new(), away())];
    assert_eq!(written(vec![first], script).await, [1, 1], "who has just come is tried");
    for answered in [one, other, third] {
        assert!(is_away(answered).await);
    }
}

#[tokio::test]
async fn who_has_waited_behind_a_store_that_answers_is_tried() {
    let ((first, one), (long, other)) = (order(), waiting_for(PATIENCE));
    assert_eq!(written(vec![first], vec![(vec![long], made()), (Vec::new(), made())]).await, [1, 1]);
    assert!(one.await.unwrap().is_ok() && other.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_is_tried_apart_is_not_once_the_store_is_away() {
    let ((first, one), (second, other), (third, last)) = (order(), order(), order());
    let late = Err(Error::Late("it is locked".into()));
    let script = vec![(Vec::new(), late), (Vec::new(), made()), (Vec::new(), away())];
    assert_eq!(written(vec![first, second, third], script).await, [3, 1, 1]);
    assert!(one.await.unwrap().is_ok() && is_away(other).await && is_away(last).await);
}

#[tokio::test]
async fn what_nobody_heard_of_is_given_back_when_the_store_is_there_again() {
    let ((unheard, _), (next, one), (last, other)) = (order(), order(), order());
    let attempt = Attempt { ticket: TicketId::new(), gateway: GatewayId::NOBODY, number: 1 };
    let begun = Answer::Submitted(Submitted::Stored { at: Timestamp(0), attempt: Some(attempt) });
    let script = vec![
        (Vec::new(), Ok(vec![Ok(begun)])),
        // The attempt is given back, in vain, and then for good, when somebody was answered.
        (vec![next], away()),
        (vec![last], away()),
        (Vec::new(), Ok(vec![Ok(Answer::Count(7))])),
        (Vec::new(), made()),
    ];
    assert_eq!(written(vec![unheard], script).await, [1; 5]);
    assert!(is_away(one).await && matches!(other.await.unwrap(), Ok(Answer::Count(7))));
}

#[tokio::test]
async fn what_is_not_made_is_counted_by_why() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let ((first, _one), (second, _other), (third, _third)) = (order(), order(), order());
    let (long, _last) = waiting_for(PATIENCE);
    let script = vec![
        (vec![second], Err(Error::Full)),
        // It was found out that it adds something.
        (vec![third], Ok(vec![Ok(Answer::NoSpace)])),
        (vec![long], away()),
    ];
    assert_eq!(written(vec![first], script).await, [1; 3]);
    let text = recorder.handle().render();
    for (reason, times) in [("full", 2), ("away", 2), ("late", 0)] {
        let counted = format!("turno_store_refused_total{{reason=\"{reason}\"}} {times}\n");
        assert!(text.contains(&counted), "{counted}: {text}");
    }
}
