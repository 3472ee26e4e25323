//! Whether a call is made again when its link was lost with it: the gateway's rule (its `attempts.rs`), one hop earlier, on
//! a budget of the same kind. What had not left goes again and pays nothing: a gateway that ends in order hands such calls
//! back all at once. What may have run is repeated only if its `idempotency_level` allows, and if the budget has room: when
//! links break again and again, calls must not become several times as many just then.

use std::time::Instant;

use tonic::Status;
use turno_runtime::budget::{Budget, SHARE};
use turno_runtime::units::micros;

use crate::client::pending::Lost;

/// What one client has for repetitions, whatever gateway it makes them at.
pub(crate) struct Repeats {
    since: Instant,
    budget: Budget,
}

impl Repeats {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), budget: Budget::new(SHARE) }
    }

    /// A call goes out; not its repetitions.
    pub(crate) fn called(&self) {
        self.budget.deposit();
    }

    /// Whether there is room for one repetition; it is taken.
    fn may_repeat(&self) -> bool {
        self.budget.withdraw(self.now_us())
    }

    /// Once a second: lets the budget know which calls are recent.
    pub(crate) fn tick(&self) {
        self.budget.tick(self.now_us());
    }

    fn now_us(&self) -> u64 {
        micros(self.since.elapsed())
    }
}

/// The runs that one call may have had.
pub(crate) struct Runs<'a> {
    repeats: &'a Repeats,
    method: &'static str,
    repeatable: bool,
    runs: u32,
    /// The next run is a repetition that is not paid for yet.
    owes: bool,
}

/// A call may run this often, where it may run again at all.
const MOST_RUNS: u32 = 3;

impl<'a> Runs<'a> {
    /// Of a call that is about to go out.
    pub(crate) fn of(repeats: &'a Repeats, method: &'static str, repeatable: bool) -> Self {
        Self { repeats, method, repeatable, runs: 0, owes: false }
    }

    /// Its link was lost. Answers whether it may be made again, if there is room for that when there is a gateway.
    pub(crate) fn lost(&mut self, lost: Lost, gateway: &str) -> crate::Result<()> {
        if !lost.may_have_run {
            return Ok(());
        }
        self.runs += 1;
        let (method, runs) = (self.method, self.runs);
        if !self.repeatable {
            let why = "its idempotency_level does not say that it may be repeated";
            return Err(self.not_again(gateway, why));
        }
        if runs >= MOST_RUNS {
            return Err(Status::unavailable(format!(
                "{method} may have run {runs} times, and each time the link to its gateway broke"
            )));
        }
        self.owes = true;
        Ok(())
    }

    /// There is a gateway for its next run, after it was lost at this one. What is a repetition is paid for now: those for
    /// which no gateway comes cost nothing.
    pub(crate) fn go_on(&mut self, gateway: &str) -> crate::Result<()> {
        if self.owes && !self.repeats.may_repeat() {
            let why = "more than a fifth of all calls would be repetitions (the retry budget is used up)";
            return Err(self.not_again(gateway, why));
        }
        self.owes = false;
        Ok(())
    }

    fn not_again(&self, gateway: &str, why: &str) -> Status {
        Status::unavailable(format!(
            "the link to gateway {gateway} broke while {} was on its way: it may have run; it was not tried again, \
             since {why}",
            self.method
        ))
    }

    /// What its caller hears who gives it up for this reason; `None` if no run of it has begun.
    pub(crate) fn may_have_run(&self, why: &str) -> Option<Status> {
        (self.runs > 0).then(|| {
            Status::unavailable(format!(
                "a link broke while {} was on its way: it may have run; it did not go again: {why}",
                self.method
            ))
        })
    }

    /// What its caller hears of an error of this end.
    pub(crate) fn told(&self, error: Status) -> Status {
        self.may_have_run(error.message()).unwrap_or(error)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_RUNS, Repeats, Runs};
    use crate::client::pending::Lost;
    use tonic::{Code, Status};

    const LEFT: Lost = Lost { may_have_run: true };
    const UNSENT: Lost = Lost { may_have_run: false };
    /// Repetitions without any calls. That it lasts for ten seconds is longer than any of these tests.
    const RESERVE: usize = 100;

    fn runs(repeats: &Repeats, repeatable: bool) -> Runs<'_> {
        Runs::of(repeats, "kitchen.v1.Kitchen/Echo", repeatable)
    }

    const GATEWAY: &str = "10.0.0.1:7070";

    fn lose(runs: &mut Runs<'_>, lost: Lost) -> Result<(), Status> {
        runs.lost(lost, GATEWAY)?;
        runs.go_on(GATEWAY)
    }

    /// As many calls as are made again when all are lost for the first time, and what the next one hears.
    fn lose_all(repeats: &Repeats) -> (usize, Status) {
        let mut again = 0;
        loop {
            match lose(&mut runs(repeats, true), LEFT) {
                Ok(()) => again += 1,
                Err(error) => return (again, error),
            }
        }
    }

    #[test]
    fn what_had_not_left_goes_again_and_pays_nothing() {
        let repeats = Repeats::new();
        for repeatable in [true, false] {
            let mut runs = runs(&repeats, repeatable);
            for _ in 0..10 * RESERVE {
                lose(&mut runs, UNSENT).unwrap();
            }
        }
        assert_eq!(lose_all(&repeats).0, RESERVE);
        // Also when nothing is left.
        lose(&mut runs(&repeats, false), UNSENT).unwrap();
    }

    #[test]
    fn what_finds_no_gateway_pays_nothing_and_what_goes_on_pays_once() {
        let repeats = Repeats::new();
        for _ in 0..2 * RESERVE {
            runs(&repeats, true).lost(LEFT, GATEWAY).unwrap();
        }
        let mut goes_on = runs(&repeats, true);
        goes_on.lost(LEFT, GATEWAY).unwrap();
        for _ in 0..2 * RESERVE {
            goes_on.go_on(GATEWAY).unwrap();
            goes_on.lost(UNSENT, GATEWAY).unwrap();
        }
        assert_eq!(lose_all(&repeats).0, RESERVE - 1);
    }

    #[test]
    fn who_gives_up_says_so_of_what_may_have_run() {
        let (repeats, nobody) = (Repeats::new(), || Status::not_found("no gateway"));
        let mut given_up = runs(&repeats, true);
        lose(&mut given_up, UNSENT).unwrap();
        assert_eq!(given_up.told(nobody()).code(), Code::NotFound);
        lose(&mut given_up, LEFT).unwrap();
        lose(&mut given_up, UNSENT).unwrap();
        let error = given_up.told(nobody());
        assert_eq!(error.code(), Code::Unavailable);
        assert!(
            error.message().contains("kitchen.v1.Kitchen/Echo was on its way: it may have run"),
            "{error}"
        );
        assert!(error.message().ends_with("no gateway"), "{error}");
    }

    #[test]
    fn a_fifth_of_the_calls_is_made_again() {
        let repeats = Repeats::new();
        for _ in 0..500 {
            repeats.called();
        }
        let (again, error) = lose_all(&repeats);
        assert_eq!((again, error.code()), (RESERVE + 100, Code::Unavailable));
        let said = "the link to gateway 10.0.0.1:7070 broke while kitchen.v1.Kitchen/Echo was on its way:";
        assert!(error.message().starts_with(said), "{error}");
        assert!(error.message().ends_with("(the retry budget is used up)"), "{error}");
    }

    #[test]
    fn who_may_not_run_again_pays_nothing() {
        let repeats = Repeats::new();
        for _ in 0..2 * RESERVE {
            let error = lose(&mut runs(&repeats, false), LEFT).unwrap_err();
            assert!(error.message().contains("idempotency_level"), "{error}");
        }
        let mut often = runs(&repeats, true);
        for _ in 1..MOST_RUNS {
            lose(&mut often, LEFT).unwrap();
        }
        let error = lose(&mut often, LEFT).unwrap_err();
        assert!(error.message().contains("may have run 3 times"), "{error}");
        assert_eq!(lose_all(&repeats).0, RESERVE + 1 - MOST_RUNS as usize);
    }
}
