//! Patience with a gateway that is away, or full, for whoever follows a ticket or reads what comes of a map.

use std::error::Error as _;
use std::time::{Duration, Instant};

use anyhow::bail;
use tonic::{Code, Status};
use turno_runtime::units::Rounded;

use crate::call::{self, Away, SILENCE};
use crate::interrupts::heed;
use crate::reflect::Refused;

/// How long a gateway may be away.
const MOST: Duration = Duration::from_secs(60);
/// How long one may be away for whoever has just come: longer than one is that is restarted.
pub(crate) const RESTART: Duration = Duration::from_secs(5);
/// A stream without a word that stood for so long was a gateway's that was there: one of a gateway that is silent breaks
/// before. One that fails before may also be that of a gateway that can give nothing, which waits for its store for less.
const STOOD: Duration = SILENCE.saturating_add(Duration::from_secs(5));
/// Before one is asked again.
pub(crate) const PAUSE: Duration = Duration::from_millis(500);

/// When a gateway was last there.
pub(crate) struct Patience {
    heard: Instant,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { heard: Instant::now() }
    }

    /// Waits for a stream's next message, however long it has nothing to say, and answers it: its end is an error.
    pub(crate) async fn next<T>(
        &mut self,
        message: impl Future<Output = Result<Option<T>, Status>>,
    ) -> Result<T, Status> {
        heed().await;
        let asked = Instant::now();
        let message = message.await;
        if matches!(message, Ok(Some(_))) || asked.elapsed() > STOOD {
            self.heard = Instant::now();
        }
        message?.ok_or_else(|| Status::unavailable("the gateway is ending"))
    }

    /// Fails if none has been there for too long. `again`: the command that goes on, and how.
    pub(crate) fn check(&self, why: &Status, again: &str) -> anyhow::Result<()> {
        if self.heard.elapsed() > MOST {
            let why = call::why(why);
            bail!("no gateway has served it for {} ({why}); the ticket goes on, and {again}", Rounded(MOST));
        }
        Ok(())
    }
}

/// Nobody has answered: the gateway is not available, or has no room now, or the connection broke, of which this end alone
/// knows.
pub(crate) fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) || status.source().is_some()
}

/// The same of what a command asks first: to connect, and to be told what it needs.
pub(crate) fn is_nobody(error: &anyhow::Error) -> bool {
    error.is::<Away>() || error.downcast_ref::<Refused>().is_some_and(|Refused(status)| is_away(status))
}

/// Asks what may be asked twice, again and again for so long as nobody `is_away`.
pub(crate) async fn patiently<T, E>(
    patience: Duration,
    is_away: impl Fn(&E) -> bool,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, E> {
    let since = Instant::now();
    loop {
        match ask().await {
            Err(error) if is_away(&error) && since.elapsed() < patience => tokio::time::sleep(PAUSE).await,
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Away, MOST, Patience, RESTART, is_away, is_nobody, patiently};
    use crate::reflect::refused;
    use futures_util::FutureExt as _;
    use std::time::{Duration, Instant};
    use tonic::Status;

    impl Patience {
        pub(crate) fn at_its_end() -> Self {
            Self { heard: Instant::now().checked_sub(MOST + Duration::from_secs(1)).unwrap() }
        }
    }

    #[test]
    fn patience_has_an_end_that_says_how_to_go_on() {
        let gone = Status::unavailable("connection refused");
        let half = Instant::now().checked_sub(MOST / 2).unwrap();
        Patience { heard: half }.check(&gone, "").unwrap();
        let error =
            Patience::at_its_end().check(&gone, "`turno tickets watch 7` with it").unwrap_err().to_string();
        let why = "no gateway has served it for 60 s (connection refused)";
        assert_eq!(error, format!("{why}; the ticket goes on, and `turno tickets watch 7` with it"));
    }

    #[tokio::test]
    async fn who_opens_a_stream_and_says_nothing_is_away() {
        let gone = || Status::unavailable("the store is away");
        let mut patience = Patience::at_its_end();
        for nothing in [Ok(None), Err(gone())] {
            patience.next::<u32>(async { nothing }).await.unwrap_err();
            patience.check(&gone(), "").unwrap_err();
        }
        assert_eq!(patience.next(async { Ok(Some(1)) }).await.unwrap(), 1);
        patience.next::<u32>(async { Err(gone()) }).await.unwrap_err();
        patience.check(&gone(), "").unwrap();
    }

    #[test]
    fn whoever_interrupts_is_heard_though_messages_are_always_there() {
        assert!(Patience::new().next(async { Ok(Some(1)) }).now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_comes_while_a_gateway_is_away_asks_again_and_who_was_answered_does_not() {
        async fn asked(patience: Duration, error: fn() -> anyhow::Error) -> (u32, bool) {
            let mut asked = 0;
            let answer = patiently(patience, is_nobody, async || {
                asked += 1;
                if asked < 2 { Err(error()) } else { Ok(()) }
            });
            let is_answered = answer.await.is_ok();
            (asked, is_answered)
        }
        let nobody = || anyhow::Error::from(Away("connection refused".to_owned()));
        assert_eq!(asked(RESTART, nobody).await, (2, true));
        assert_eq!(asked(Duration::ZERO, nobody).await, (1, false));
        assert_eq!(asked(RESTART, || anyhow::anyhow!("no such ticket")).await, (1, false));
    }

    #[test]
    fn what_is_not_heard_of_types_is_nobodys_word() {
        let broken = Status::from_error(Box::new(std::io::Error::other("broken pipe")));
        assert!(is_nobody(&refused(broken).context("127.0.0.1:7070")));
        assert!(!is_nobody(&refused(Status::unimplemented("what is reflection?"))));
    }

    #[test]
    fn who_says_something_is_not_away() {
        assert!(is_away(&Status::unavailable("the gateway is ending")));
        assert!(is_away(&Status::resource_exhausted("16384 calls are in flight")));
        assert!(is_away(&Status::from_error(Box::new(std::io::Error::other("broken pipe")))));
        assert!(!is_away(&Status::not_found("no such ticket")));
    }
}
