//! What goes with every attempt of a ticket beside its request: the submitter's metadata, and who that was. Stored
//! encoded, as an invocation that has nothing else.

use bytes::Bytes;
use http::HeaderMap;
use prost::Message as _;
use tonic::Status;
use turno_proto::mesh::v1::{Caller, Entry, Invocation};
use turno_proto::{entries, headers};
use turno_store::{Attempt, Claimed};

use crate::listen::Origin;
use crate::wishes;

/// Who submits, with what metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Envelope {
    pub(crate) metadata: Vec<Entry>,
    pub(crate) caller: Caller,
}

/// As much as an idempotency key may have. A store's index has tenant and method, or tenant and key, in one row, of which
/// PostgreSQL takes 2,704 bytes.
const LONGEST_TENANT: usize = 256;

/// Credentials are for the one who hears them, and not kept on a disk.
const NOT_KEPT: [&str; 3] = [headers::AUTHORIZATION, "cookie", "proxy-authorization"];
/// What the mesh itself says of a call.
const OWN: [&str; 4] = [headers::EXPLAIN, headers::LANE, headers::TICKET, headers::ATTEMPT];

impl Envelope {
    /// Of a submit that came with these headers.
    pub(crate) fn of(headers: &HeaderMap, origin: &Origin) -> Result<Self, Status> {
        let metadata = entries::from_request(headers);
        wishes::understood(&metadata)?;
        Ok(Self::new(metadata, crate::edge::caller(headers, origin)))
    }

    pub(crate) fn new(mut metadata: Vec<Entry>, caller: Caller) -> Self {
        metadata.retain(|entry| !NOT_KEPT.contains(&&*entry.key) && !OWN.contains(&&*entry.key));
        Self { metadata, caller }
    }

    /// `turno-tenant`; empty for nobody.
    pub(crate) fn tenant(&self) -> Result<String, Status> {
        let tenant = self.metadata.iter().find(|entry| entry.key == headers::TENANT);
        let tenant = tenant.map(|entry| &entry.value[..]).unwrap_or_default();
        if tenant.len() > LONGEST_TENANT {
            let (name, bytes) = (headers::TENANT, tenant.len());
            return Err(Status::invalid_argument(format!(
                "{name}: {bytes} bytes are more than the {LONGEST_TENANT} that it may have with a ticket"
            )));
        }
        Ok(String::from_utf8_lossy(tenant).into_owned())
    }

    pub(crate) fn encoded(&self) -> Bytes {
        let (metadata, caller) = (self.metadata.clone(), Some(self.caller.clone()));
        Invocation { metadata, caller, ..Invocation::default() }.encode_to_vec().into()
    }

    /// Of a ticket that is to run: in the lane for what may wait, and with its name, so that a method can tell whether
    /// it sees it for the first time.
    pub(crate) fn opened(claimed: &Claimed) -> Result<Self, Status> {
        let Attempt { ticket, number, .. } = claimed.attempt;
        let unreadable =
            |error| Status::data_loss(format!("the metadata of ticket {ticket} cannot be read: {error}"));
        let kept = Invocation::decode(claimed.metadata.clone()).map_err(unreadable)?;
        let line = |key: &str, value: String| Entry { key: key.to_owned(), value: value.into() };
        let mut metadata = kept.metadata;
        metadata.push(line(headers::LANE, headers::BATCH.to_owned()));
        metadata.push(line(headers::TICKET, super::operation::name_of(ticket)));
        metadata.push(line(headers::ATTEMPT, number.to_string()));
        Ok(Self { metadata, caller: kept.caller.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use tonic::Code;
    use turno_proto::mesh::v1::Entry;
    use turno_store::{Attempt, Claimed, GatewayId, TicketId};
    use uuid::Uuid;

    use super::Envelope;
    use crate::listen::Origin;
    use crate::unread::Unread;

    #[test]
    fn a_tenant_has_a_limit() {
        let of = |bytes: usize| {
            let entry = Entry { key: "turno-tenant".into(), value: vec![b't'; bytes].into() };
            Envelope { metadata: vec![entry], ..Envelope::default() }.tenant()
        };
        assert_eq!(Envelope::default().tenant().unwrap(), "");
        assert_eq!(of(256).unwrap(), "t".repeat(256));
        let refused = of(257).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with("turno-tenant: 257 bytes are more than the 256 "), "{refused}");
    }

    #[test]
    fn metadata_comes_back_without_credentials_and_in_the_lane_for_what_may_wait() {
        let mut headers = HeaderMap::new();
        for (key, value) in [
            ("authorization", "Bearer secret"),
            ("cookie", "secret"),
            ("turno-lane", "calls"),
            ("turno-tenant", "bakery"),
            ("x-oven", "7"),
        ] {
            headers.insert(key, value.parse().unwrap());
        }
        let (peer, reader) = ("10.0.0.1:5".parse().unwrap(), Unread::new(1).reader());
        let origin = Origin { is_node: false, peer, reader, left_alone: false.into() };
        let envelope = Envelope::of(&headers, &origin).unwrap();
        assert_eq!(envelope.tenant().unwrap(), "bakery");
        let ticket = TicketId::new();
        let claimed = Claimed {
            attempt: Attempt { ticket, gateway: GatewayId(Uuid::nil()), number: 2 },
            method: String::new(),
            request: bytes::Bytes::new(),
            inputs: None,
            tenant: envelope.tenant().unwrap(),
            metadata: envelope.encoded(),
            timeout: None,
            retries: 0,
            failures: 0,
            cancel_requested: false,
            waited: std::time::Duration::ZERO,
            lost_by: None,
        };
        let opened = Envelope::opened(&claimed).unwrap();
        assert_eq!(opened.caller.peer, "10.0.0.1:5");
        let lines: Vec<_> = opened.metadata.iter().map(|entry| (&*entry.key, &entry.value[..])).collect();
        let name = format!("operations/{ticket}");
        assert_eq!(
            lines,
            [
                ("turno-tenant", &b"bakery"[..]),
                ("x-oven", b"7"),
                ("turno-lane", b"batch"),
                ("turno-ticket", name.as_bytes()),
                ("turno-attempt", b"2"),
            ]
        );
    }
}
