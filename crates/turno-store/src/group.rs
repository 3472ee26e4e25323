//! Group commit: one writer takes every change that has gathered, makes one transaction of them, and answers all when it
//! is on disk. It never waits to gather; what comes meanwhile goes with the next one.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use turno_runtime::task;

use crate::change::{Answer, Answered, Change};
use crate::error::Error;
use crate::refused::Refused;

/// Changes that wait; who comes later waits to be let in.
const WAITING: usize = 4096;

/// Changes in one transaction.
const TOGETHER: usize = 1024;

/// How often changes are tried that others get in the way of.
const TRIES: u32 = 5;

/// Who has waited for so long behind a store that did not answer is not tried any more. Those who came later are: the store may
/// be there again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where changes are made.
pub(crate) trait Ledger: Send + 'static {
    /// Makes all of them in one transaction and answers, in their order, when it is on disk. An error means that nothing
    /// has changed, or for [`Error::Unavailable`] that nobody knows. After it, or [`Error::Away`], the store may be silent.
    fn apply(&mut self, changes: &[Change]) -> impl Future<Output = Result<Vec<Answered>, Error>> + Send;
}

/// A change, and who waits for it.
struct Order {
    change: Change,
    came: Instant,
    answer: oneshot::Sender<Answered>,
}

/// The way to the writer.
#[derive(Clone)]
pub(crate) struct Writer {
    orders: mpsc::Sender<Order>,
}

impl Writer {
    /// Starts the writer as a task. It ends when the last of its handles is gone.
    pub(crate) fn start(name: &str, ledger: impl Ledger) -> Self {
        let (orders, waiting) = mpsc::channel(WAITING);
        task::spawn(name, write(ledger, waiting, Refused::new(None)));
        Self { orders }
    }

    /// The same on a thread of its own. Where a transaction takes no longer than a few hundred tasks, one that has to queue
    /// up with them leaves the disk idle half of the time. `directory`: where the store lies.
    ///
    /// # Errors
    /// [`Error::Unusable`]: there is no thread to be had.
    pub(crate) fn start_thread(name: &str, ledger: impl Ledger, directory: &Path) -> Result<Self, Error> {
        let (orders, waiting) = mpsc::channel(WAITING);
        let (runtime, refused) = (Handle::current(), Refused::new(Some(directory)));
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(write(ledger, waiting, refused)))
            .map_err(|error| Error::Unusable(format!("its writer cannot be started: {error}")))?;
        Ok(Self { orders })
    }

    /// Makes a change: it is on disk when this answers.
    pub(crate) async fn order(&self, change: Change) -> Answered {
        let (answer, answered) = oneshot::channel();
        let ended = || Error::Unavailable("its writer has ended".into());
        self.orders.send(Order { change, came: Instant::now(), answer }).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

async fn write(mut ledger: impl Ledger, mut orders: mpsc::Receiver<Order>, mut refused: Refused) {
    let mut taken = Vec::with_capacity(TOGETHER);
    let mut unheard = Vec::new();
    let mut is_silent = false;
    while orders.recv_many(&mut taken, TOGETHER).await > 0 {
        if is_silent {
            refuse_the_late(&mut taken, &mut refused);
            if taken.is_empty() {
                continue;
            }
        }
        let (changes, waiting): (Vec<_>, Vec<_>) =
            taken.drain(..).map(|order| (order.change, order.answer)).unzip();
        let answers = together(&mut ledger, &changes).await;
        is_silent = end_in_silence(&answers);
        for (answer, waiting) in answers.into_iter().zip(waiting) {
            refused.count(&answer);
            if let Err(Ok(answer)) = waiting.send(answer) {
                unheard.extend(answer.attempts().into_iter().map(Change::given_back));
            }
        }
        if !unheard.is_empty() && !is_silent {
            let answers = together(&mut ledger, &unheard).await;
            is_silent = end_in_silence(&answers);
            // What cannot be given back now (the disk may be full) is tried again after the next transaction.
            let mut stay = answers.iter().map(|answer| !matches!(answer, Ok(_) | Err(Error::Superseded(_))));
            unheard.retain(|_| stay.next().unwrap_or(false));
        }
    }
}

/// Whether the store did not answer any more.
fn end_in_silence(answers: &[Answered]) -> bool {
    answers.last().is_some_and(|answer| answer.as_ref().is_err_and(Error::is_silence))
}

fn refuse_the_late(taken: &mut Vec<Order>, refused: &mut Refused) {
    for order in taken.extract_if(.., |order| order.came.elapsed() >= PATIENCE) {
        let answer = Err(untried());
        refused.count(&answer);
        // Whoever asked may have gone.
        let _gone = order.answer.send(answer);
    }
}

fn untried() -> Error {
    Error::Away("it has not answered those before, and this was not tried".into())
}

/// All in one transaction; if that fails, each in its own, so that one that cannot be made spoils no other.
async fn together(ledger: &mut impl Ledger, changes: &[Change]) -> Vec<Answered> {
    match persistently(ledger, changes).await {
        Ok(answers) => answers,
        Err(Error::Unavailable(why)) => {
            changes.iter().map(|_| Err(Error::Unavailable(why.clone()))).collect()
        }
        Err(Error::Away(why)) => changes.iter().map(|_| Err(Error::Away(why.clone()))).collect(),
        Err(error) if changes.len() == 1 => vec![Err(error)],
        Err(_) => apart(ledger, changes).await,
    }
}

/// Again while others are in the way: nothing has happened then.
async fn persistently(ledger: &mut impl Ledger, changes: &[Change]) -> Result<Vec<Answered>, Error> {
    for _try in 1..TRIES {
        match ledger.apply(changes).await {
            Err(Error::Contended) => {}
            made => return made,
        }
    }
    ledger.apply(changes).await
}

/// Where the store falls silent meanwhile, the others are not tried.
async fn apart(ledger: &mut impl Ledger, changes: &[Change]) -> Vec<Answered> {
    let mut answers = Vec::with_capacity(changes.len());
    for change in changes {
        let answered = persistently(ledger, std::slice::from_ref(change)).await;
        answers.push(answered.and_then(|mut one| one.pop().unwrap_or(Ok(Answer::Nothing))));
        if end_in_silence(&answers) {
            break;
        }
    }
    answers.resize_with(changes.len(), || Err(untried()));
    answers
}

#[cfg(test)]
mod tests;
