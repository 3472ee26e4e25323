//! What becomes of changes behind a store that does as it is told here.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{Ledger, Order, WAITING, write};
use crate::change::{Answered, Change};
use crate::error::Error;

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
    write(ledger, waiting).await;
    let asked = asked.lock();
    asked.clone()
}

fn order() -> (Order, oneshot::Receiver<Answered>) {
    let (answer, answered) = oneshot::channel();
    (Order { change: Change::Expire(1), answer }, answered)
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
