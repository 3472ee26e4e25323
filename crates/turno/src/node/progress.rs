//! How far calls are, on its way up: the last word of each that is heard of, ten times a second at most.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use turno_proto::mesh::v1::Progress;

use crate::node::frames::Up;

/// The words of one link's calls.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// Of calls that are heard of and have not ended; `None`: nothing new.
    latest: Mutex<HashMap<u64, Option<Progress>>>,
    news: Notify,
}

/// What one call says.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    words: Arc<Words>,
    call: u64,
}

const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_NOTE: usize = 1024;

impl Words {
    /// A call begins that is heard of.
    pub(crate) fn open(self: &Arc<Self>, call: u64) -> Teller {
        self.latest.lock().insert(call, None);
        Teller { words: self.clone(), call }
    }

    /// It has ended; its last word, if that is still here.
    pub(crate) fn close(&self, call: u64) -> Option<Progress> {
        self.latest.lock().remove(&call).flatten()
    }

    /// Sends what has been said, until the link is gone.
    pub(crate) async fn tell(self: Arc<Self>, up: mpsc::Sender<Up>) {
        loop {
            self.news.notified().await;
            let said = self.take();
            if !said.is_empty() && up.send(Up::Progress(said)).await.is_err() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn take(&self) -> Vec<Progress> {
        self.latest.lock().values_mut().filter_map(Option::take).collect()
    }
}

impl Teller {
    pub(crate) fn say(&self, done: u64, total: u64, mut note: String) {
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
        if let Some(latest) = self.words.latest.lock().get_mut(&self.call) {
            *latest = Some(Progress { call: self.call, done, total, note });
        }
        self.words.news.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;
    use turno_proto::mesh::v1::Progress;

    use super::Words;
    use crate::node::frames::Up;

    fn told(up: Up) -> Vec<Progress> {
        match up {
            Up::Progress(said) => said,
            _ => Vec::new(),
        }
    }

    #[tokio::test]
    async fn of_many_words_the_last_is_sent() {
        let (words, (up, mut sent)) = (Arc::new(Words::default()), mpsc::channel(8));
        let telling = turno_runtime::task::spawn("tell", words.clone().tell(up));
        let teller = words.open(7);
        teller.say(0, 1000, String::new());
        assert_eq!(told(sent.recv().await.unwrap())[0].done, 0);
        for done in 1..=999 {
            teller.say(done, 1000, String::new());
        }
        assert_eq!(told(sent.recv().await.unwrap())[0].done, 999);
        telling.abort();
    }

    #[test]
    fn the_very_last_word_goes_with_the_end_and_nothing_after_it() {
        let words = Arc::new(Words::default());
        let teller = words.open(7);
        teller.say(3, 4, "ä".repeat(600));
        let last = words.close(7).unwrap();
        assert_eq!((last.call, last.done, last.note.len()), (7, 3, 1024));
        teller.say(4, 4, String::new());
        assert!(words.take().is_empty() && words.latest.lock().is_empty());
    }
}
