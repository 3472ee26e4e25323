//! What a map leaves behind when it has ended: a line in the log, and the account of all its chunks for who has asked for it.
//! Its calls are counted item by item, and the time of its chunks as they come back.

use std::sync::Arc;
use std::time::Instant;

use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Status};
use turno_proto::{headers, status};
use turno_runtime::units::Rounded;
use turno_store::TicketId;

use crate::account::Account;
use crate::bill::GONE;
use crate::methods::Method;

/// The bill of a map that is under way.
pub(super) struct Bill {
    method: Arc<Method>,
    pub(super) started: Instant,
    /// If it is one.
    pub(super) ticket: Option<TicketId>,
    /// The client asks for its account.
    in_trailers: bool,
    spent: Account,
    chunks: u64,
}

impl Bill {
    pub(super) fn open(method: Arc<Method>, ticket: Option<TicketId>, in_trailers: bool) -> Self {
        let started = Instant::now();
        Self { method, started, ticket, in_trailers, spent: Account::default(), chunks: 0 }
    }

    /// A chunk has come back. What did not come to a node is no chunk; its time was the map's all the same.
    pub(super) fn add(&mut self, account: &Account, was_there: bool) {
        self.spent += *account;
        self.chunks += u64::from(was_there);
    }

    /// The map has ended; or nobody waits for it any more. Answers what is still to be said to whoever has it: an error, or
    /// an end with its account.
    pub(super) fn settle(self, ended: Option<Result<(), Status>>) -> Option<Status> {
        let (code, error) = match &ended {
            Some(Ok(())) => (Code::Ok, ""),
            Some(Err(status)) => (status.code(), status.message()),
            None => (Code::Cancelled, GONE),
        };
        tracing::debug!(
            method = self.method.name(),
            ticket = self.ticket.map(tracing::field::display),
            code = status::code_name(code),
            error = (code != Code::Ok).then_some(error),
            took = %Rounded(self.started.elapsed()),
            chunks = self.chunks,
            account = self.spent.to_string(),
            "map"
        );
        let mut last = match ended? {
            Ok(()) if !self.in_trailers => return None,
            // tonic writes the trailers of a stream's end from the status that it yields: be it OK, this has metadata.
            Ok(()) => Status::ok(""),
            Err(status) => status,
        };
        if self.in_trailers
            && let Ok(account) =
                AsciiMetadataValue::try_from(format!("{} chunks={}", self.spent, self.chunks))
        {
            last.metadata_mut().insert(headers::EXPLAIN, account);
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::Bill;
    use crate::account::Account;
    use crate::methods::Method;

    fn bill(in_trailers: bool) -> Bill {
        let mut bill = Bill::open(Method::alone("/kitchen.v1.Kitchen/Square"), None, in_trailers);
        for cpu in [30, 40] {
            bill.add(&Account { wire: 2, cpu, ..Account::default() }, true);
        }
        bill.add(&Account { again: 5, ..Account::default() }, false);
        bill
    }

    #[test]
    fn who_has_asked_has_the_account_of_all_chunks_however_the_map_ends() {
        let text =
            "total=79us edge=0us queue=0us again=5us away=0us wire=4us window=0us wait=0us cpu=70us chunks=2";
        for ended in [Ok(()), Err(Status::aborted("stopped"))] {
            let code = ended.as_ref().map_or_else(Status::code, |_| Code::Ok);
            let last = bill(true).settle(Some(ended)).unwrap();
            let account = last.metadata().get("turno-explain").unwrap();
            assert_eq!((last.code(), account.to_str().unwrap()), (code, text));
        }
        assert!(bill(true).settle(None).is_none(), "nobody is there");
    }

    #[test]
    fn who_has_not_asked_hears_of_errors_alone() {
        assert!(bill(false).settle(Some(Ok(()))).is_none());
        let last = bill(false).settle(Some(Err(Status::aborted("stopped")))).unwrap();
        assert_eq!((last.code(), last.metadata().is_empty()), (Code::Aborted, true));
    }
}
