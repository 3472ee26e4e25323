//! Checksums over what users sent and what came of it: whoever reads a request, a response, a final failure or that of an
//! attempt gets what was stored, or is told.

use bytes::Bytes;
use twox_hash::XxHash3_128;

use crate::state::State;
use crate::ticket::{Failure, TicketId};

/// A checksum of 16 bytes, as it lies in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal(pub(crate) [u8; 16]);

impl Seal {
    /// Over all that an attempt is given: a request under another method's name, or another ticket's, does not pass.
    pub(crate) fn of_request(
        ticket: TicketId,
        method: &str,
        tenant: &str,
        metadata: &[u8],
        request: &Bytes,
    ) -> Self {
        over(&[ticket.0.as_bytes(), method.as_bytes(), tenant.as_bytes(), metadata, request])
    }

    /// Over a response, and whose it is.
    pub(crate) fn of_response(ticket: TicketId, response: &Bytes) -> Self {
        over(&[ticket.0.as_bytes(), response])
    }

    /// Over what a ticket has failed with for good, whose it is, and how it has ended.
    pub(crate) fn of_failure(ticket: TicketId, state: State, failure: &Failure) -> Self {
        let Failure { code, message, details } = failure;
        over(&[
            ticket.0.as_bytes(),
            state.name().as_bytes(),
            &code.to_le_bytes(),
            message.as_bytes(),
            details,
        ])
    }

    /// Over what an attempt has failed with, and which attempt that was.
    pub(crate) fn of_attempt(ticket: TicketId, number: u32, failure: &Failure) -> Self {
        let Failure { code, message, details } = failure;
        over(&[
            ticket.0.as_bytes(),
            b"attempt",
            &number.to_le_bytes(),
            &code.to_le_bytes(),
            message.as_bytes(),
            details,
        ])
    }

    /// Over the head of a part of a map's log, and where it belongs.
    pub(crate) fn of_head(ticket: TicketId, log: &str, number: u32, head: &Bytes) -> Self {
        over(&[ticket.0.as_bytes(), log.as_bytes(), b"head", &number.to_le_bytes(), head])
    }

    /// Over the body of a part of a map's log, and where it belongs.
    pub(crate) fn of_part(ticket: TicketId, log: &str, number: u32, body: &Bytes) -> Self {
        over(&[ticket.0.as_bytes(), log.as_bytes(), b"body", &number.to_le_bytes(), body])
    }

    /// What a submit asks for: two submits with one idempotency key must agree in it.
    pub(crate) fn of_demand(method: &str, request: &Bytes) -> Self {
        over(&[method.as_bytes(), request])
    }

    /// As it was stored.
    pub(crate) fn stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

/// Each part with its length, so that no byte can move from one to the next.
fn over(parts: &[&[u8]]) -> Seal {
    let mut hash = XxHash3_128::new();
    for part in parts {
        hash.write(&(part.len() as u64).to_le_bytes());
        hash.write(part);
    }
    Seal(hash.finish_128().to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::Seal;
    use crate::state::State;
    use crate::ticket::{Failure, TicketId};
    use bytes::Bytes;
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn no_flipped_bit_passes(mut request in proptest::collection::vec(any::<u8>(), 1..2000), at: usize) {
            let ticket = TicketId::new();
            let seal = |request: &[u8]| Seal::of_request(ticket, "a.B/C", "me", b"", &Bytes::copy_from_slice(request));
            let sealed = seal(&request);
            let bit = at % (request.len() * 8);
            request[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(seal(&request), sealed);
        }
    }

    #[test]
    fn a_request_under_another_name_does_not_pass() {
        let (ticket, request) = (TicketId::new(), Bytes::from_static(b"dough"));
        let sealed = Seal::of_request(ticket, "a.B/Bake", "me", b"", &request);
        assert_ne!(sealed, Seal::of_request(TicketId::new(), "a.B/Bake", "me", b"", &request));
        assert_ne!(sealed, Seal::of_request(ticket, "a.B/Burn", "me", b"", &request));
        assert_ne!(sealed, Seal::of_request(ticket, "a.B/Bak", "eme", b"", &request));
        assert_eq!(Seal::stored(&sealed.0), Some(sealed));
        assert_eq!(Seal::stored(b"short"), None);
    }

    #[test]
    fn another_failure_does_not_pass() {
        let (ticket, burnt) =
            (TicketId::new(), Failure { code: 14, message: "burnt".into(), ..Failure::default() });
        let sealed = Seal::of_failure(ticket, State::Failed, &burnt);
        assert_ne!(sealed, Seal::of_failure(TicketId::new(), State::Failed, &burnt));
        assert_ne!(sealed, Seal::of_failure(ticket, State::Dead, &burnt));
        for other in [
            Failure { code: 15, ..burnt.clone() },
            Failure { message: "burns".into(), ..burnt.clone() },
            Failure { details: "burnt".into(), ..burnt.clone() },
            Failure { message: "bur".into(), details: "nt".into(), ..burnt.clone() },
        ] {
            assert_ne!(sealed, Seal::of_failure(ticket, State::Failed, &other));
            assert_ne!(Seal::of_attempt(ticket, 1, &burnt), Seal::of_attempt(ticket, 1, &other));
        }
        let sealed = Seal::of_attempt(ticket, 1, &burnt);
        assert_ne!(sealed, Seal::of_attempt(TicketId::new(), 1, &burnt));
        assert_ne!(sealed, Seal::of_attempt(ticket, 2, &burnt));
    }
}
