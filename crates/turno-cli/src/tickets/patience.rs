//! Patience with a gateway that is away, or full, for whoever follows a ticket or reads what comes of a map.

use std::error::Error as _;
use std::time::{Duration, Instant};

use anyhow::bail;
use tonic::{Code, Status};

/// How long a gateway may be away.
const MOST: Duration = Duration::from_secs(60);
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

    /// A gateway is there, or was until now.
    pub(crate) fn heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Fails if none has been there for too long. `again`: the command that goes on.
    pub(crate) fn check(&self, why: &Status, again: &str) -> anyhow::Result<()> {
        if self.heard.elapsed() > MOST {
            let why = why.message();
            bail!("no gateway has served it for {MOST:?} ({why}); the ticket goes on, and `{again}` with it");
        }
        Ok(())
    }
}

/// Nobody has answered: the gateway is not available, or has no room now, or the connection broke, of which this end alone
/// knows.
pub(crate) fn is_away(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) || status.source().is_some()
}

#[cfg(test)]
mod tests {
    use super::{MOST, Patience, is_away};
    use std::time::{Duration, Instant};
    use tonic::Status;

    #[test]
    fn patience_has_an_end_that_says_how_to_go_on() {
        let gone = Status::unavailable("connection refused");
        let ago = |time| Instant::now().checked_sub(time).unwrap();
        let mut patience = Patience { heard: ago(MOST / 2) };
        patience.check(&gone, "").unwrap();
        patience.heard = ago(MOST + Duration::from_secs(1));
        let error = patience.check(&gone, "turno tickets watch 9f3ac2b1").unwrap_err().to_string();
        let why = "no gateway has served it for 60s (connection refused)";
        assert_eq!(error, format!("{why}; the ticket goes on, and `turno tickets watch 9f3ac2b1` with it"));
        patience.heard();
        patience.check(&gone, "").unwrap();
    }

    #[test]
    fn who_says_something_is_not_away() {
        assert!(is_away(&Status::unavailable("the gateway is ending")));
        assert!(is_away(&Status::resource_exhausted("16384 calls are in flight")));
        assert!(is_away(&Status::from_error(Box::new(std::io::Error::other("broken pipe")))));
        assert!(!is_away(&Status::not_found("no such ticket")));
    }
}
