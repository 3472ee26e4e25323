//! What is wrong with a submit, told before anything is stored. Knows neither clock nor store.

use std::collections::BTreeMap;
use std::time::Duration;

use prost_types::{Duration as WireDuration, Timestamp as WireTimestamp};
use tonic::Status;
use turno_proto::v1::SubmitRequest;
use turno_runtime::units::Span;
use turno_store::{IdempotencyKey, NewTicket, TicketId, Timestamp};

use crate::config::TAKE_LARGER;
use crate::quote::beginning;
use crate::tickets::envelope::Envelope;

const LONGEST_METHOD: usize = 1024;
const LONGEST_KEY: usize = 256;
const MOST_LABELS: usize = 32;
const LONGEST_LABEL: usize = 63;
const LONGEST_VALUE: usize = 256;
/// As `(turno.v1.method)` has it.
pub(crate) const MOST_RETRIES: u32 = 1000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KEPT: Duration = DAY.saturating_mul(7);
const LEAST_KEPT: Duration = Duration::from_secs(1);
const LONGEST_KEPT: Duration = DAY.saturating_mul(366);
const LONGEST_KEY_KEPT: Duration = DAY.saturating_mul(3660);
const LONGEST_TIMEOUT: Duration = DAY.saturating_mul(30);

/// Attempts after the first, where neither submit nor method say.
pub(crate) const RETRIES: u32 = 2;

/// "gallery.v1.Gallery/Thumbnail" out of what a client wrote, which may be a path.
pub(crate) fn method_name(method: &str) -> Result<&str, Status> {
    let name = method.strip_prefix('/').unwrap_or(method);
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [service, method] if !service.is_empty() && !method.is_empty() && name.len() <= LONGEST_METHOD => {
            Ok(name)
        }
        _ => Err(refused(format!(
            "method: {:?} is no method: expected package.Service/Method",
            beginning(method)
        ))),
    }
}

/// A ticket out of a submit of `method`, whose own retries are those of its `.proto`.
pub(crate) fn ticket(
    request: SubmitRequest,
    envelope: &Envelope,
    retries_of_method: Option<u32>,
    max_message: usize,
) -> Result<NewTicket, Status> {
    let method = method_name(&request.method)?.to_owned();
    if request.request.len() > max_message {
        return Err(Status::resource_exhausted(format!(
            "request: {} bytes are more than the {max_message} that a message may have (max_message){TAKE_LARGER}",
            request.request.len()
        )));
    }
    let kept_for = request
        .idempotency_key_kept_for
        .map(|time| duration("idempotency_key_kept_for", time, LEAST_KEPT, LONGEST_KEY_KEPT));
    let keep = request.keep_result_for;
    let keep_result_for =
        keep.map_or(Ok(KEPT), |time| duration("keep_result_for", time, LEAST_KEPT, LONGEST_KEPT))?;
    let least = Duration::from_millis(1);
    Ok(NewTicket {
        id: TicketId::new(),
        method,
        request: request.request,
        inputs: None,
        tenant: envelope.tenant()?,
        metadata: envelope.encoded(),
        labels: labels(request.labels)?,
        key: key(request.idempotency_key, kept_for.transpose()?)?,
        not_before: request.not_before.map(not_before).transpose()?,
        timeout: request.timeout.map(|time| duration("timeout", time, least, LONGEST_TIMEOUT)).transpose()?,
        retries: retries(request.retries.or(retries_of_method))?,
        keep_result_for,
        begin_at: None,
    })
}

/// Retries that a client asks for.
pub(crate) fn retries(asked: Option<u32>) -> Result<u32, Status> {
    match asked.unwrap_or(RETRIES) {
        many if many > MOST_RETRIES => Err(refused(format!("retries: {many} are more than {MOST_RETRIES}"))),
        retries => Ok(retries),
    }
}

fn labels(labels: impl IntoIterator<Item = (String, String)>) -> Result<BTreeMap<String, String>, Status> {
    let labels: BTreeMap<_, _> = labels.into_iter().collect();
    if labels.len() > MOST_LABELS {
        return Err(refused(format!("labels: {} are more than {MOST_LABELS}", labels.len())));
    }
    for (name, value) in &labels {
        if !is_label(name) {
            return Err(refused(format!(
                "labels: {:?} is no name: expected 1 to {LONGEST_LABEL} of a-z, 0-9, '_', '.', '-'",
                beginning(name)
            )));
        }
        if value.contains('\0') {
            return Err(refused(format!("labels: the value of {name:?} has a NUL in it")));
        }
        if value.len() > LONGEST_VALUE {
            return Err(refused(format!(
                "labels: the value of {name:?} has {} bytes, more than {LONGEST_VALUE}",
                value.len()
            )));
        }
    }
    Ok(labels)
}

pub(crate) fn is_label(name: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    (1..=LONGEST_LABEL).contains(&name.len()) && name.bytes().all(is_good)
}

fn key(key: String, remembered_for: Option<Duration>) -> Result<Option<IdempotencyKey>, Status> {
    if key.contains('\0') {
        return Err(refused("idempotency_key: there is a NUL in it".to_owned()));
    }
    match (key.len(), remembered_for) {
        (0, Some(_)) => Err(refused("idempotency_key_kept_for: there is no idempotency_key".to_owned())),
        (0, None) => Ok(None),
        (1..=LONGEST_KEY, _) => Ok(Some(IdempotencyKey { key, remembered_for })),
        (bytes, _) => Err(refused(format!("idempotency_key: {bytes} bytes are more than {LONGEST_KEY}"))),
    }
}

fn not_before(time: WireTimestamp) -> Result<Timestamp, Status> {
    let is_valid = (0..1_000_000_000).contains(&time.nanos);
    // The year 9999, as far as a google.protobuf.Timestamp goes.
    let in_range = (-62_135_596_800..=253_402_300_799).contains(&time.seconds);
    if !is_valid || !in_range {
        return Err(refused("not_before: no valid time".to_owned()));
    }
    // Rounded up: not before means not before.
    Ok(Timestamp(time.seconds * 1000 + i64::from((time.nanos + 999_999) / 1_000_000)))
}

/// A time off the wire, within limits.
pub(crate) fn duration(
    field: &str,
    time: WireDuration,
    least: Duration,
    most: Duration,
) -> Result<Duration, Status> {
    let time = Duration::try_from(time)
        .map_err(|_| refused(format!("{field}: no valid time, or one below zero")))?;
    if time < least || time > most {
        return Err(refused(format!(
            "{field}: {} is not between {} and {} days",
            Span(time),
            Span(least),
            most.as_secs() / 86_400
        )));
    }
    Ok(time)
}

fn refused(what: String) -> Status {
    Status::invalid_argument(what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};
    use std::time::Duration;
    use tonic::Code;
    use turno_proto::v1::SubmitRequest;
    use turno_store::{NewTicket, Timestamp};

    use super::{Envelope, RETRIES, WireDuration, WireTimestamp, ticket};

    fn checked(change: impl FnOnce(&mut SubmitRequest)) -> Result<NewTicket, tonic::Status> {
        let mut request = SubmitRequest { method: "a.v1.A/Do".into(), ..SubmitRequest::default() };
        change(&mut request);
        ticket(request, &Envelope::default(), None, 1000)
    }

    fn refused(change: impl FnOnce(&mut SubmitRequest)) -> String {
        let error = checked(change).unwrap_err();
        assert!(matches!(error.code(), Code::InvalidArgument | Code::ResourceExhausted), "{error}");
        error.message().to_owned()
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let ticket = checked(|request| request.method = "/a.v1.A/Do".into()).unwrap();
        assert_eq!((ticket.method.as_str(), ticket.retries), ("a.v1.A/Do", RETRIES));
        assert_eq!(ticket.keep_result_for, Duration::from_secs(7 * 24 * 60 * 60));
        assert!(ticket.key.is_none() && ticket.not_before.is_none() && ticket.timeout.is_none());
    }

    #[test]
    fn each_limit_is_told_with_its_field() {
        let label = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), value.to_owned());
            refused(|request| drop(request.labels.insert(name, value)))
        };
        assert!(
            refused(|request| request.method = "a.v1.A".into())
                .starts_with("method: \"a.v1.A\" is no method")
        );
        assert!(refused(|request| request.method = "x".repeat(9999) + "/y").starts_with("method: "));
        let large = refused(|request| request.request = vec![0; 1001].into());
        assert!(
            large.starts_with("request: 1001 bytes") && large.contains("a larger --max-message"),
            "{large}"
        );
        assert!(
            refused(|request| request.idempotency_key = "k".repeat(257)).starts_with("idempotency_key: 257")
        );
        assert!(label("Not", "x").starts_with("labels: \"Not\" is no name"));
        assert_eq!(label("x", "a\0b"), "labels: the value of \"x\" has a NUL in it");
        assert!(refused(|request| request.idempotency_key = "\0".into()).starts_with("idempotency_key: "));
        assert!(label("", "x").starts_with("labels: \"\" is no name"));
        assert!(label("x", &"v".repeat(257)).starts_with("labels: the value of \"x\" has 257 bytes"));
        let many = |request: &mut SubmitRequest| {
            request.labels.extend((0..33).map(|number| (number.to_string(), String::new())));
        };
        assert_eq!(refused(many), "labels: 33 are more than 32");
        assert_eq!(refused(|request| request.retries = Some(1001)), "retries: 1001 are more than 1000");
        let below_zero = WireDuration { seconds: -1, nanos: 0 };
        assert!(refused(|request| request.timeout = Some(below_zero)).starts_with("timeout: no valid time"));
        let zero = WireDuration::default();
        assert!(
            refused(|request| request.keep_result_for = Some(zero))
                .starts_with("keep_result_for: 0s is not between 1s and 366 days")
        );
        assert!(
            refused(|request| request.idempotency_key_kept_for = Some(WireDuration { seconds: 9, nanos: 0 }))
                .ends_with("there is no idempotency_key")
        );
        let late = WireTimestamp { seconds: i64::MAX, nanos: 0 };
        assert_eq!(refused(|request| request.not_before = Some(late)), "not_before: no valid time");
    }

    #[test]
    fn not_before_is_rounded_up() {
        let at = WireTimestamp { seconds: 7, nanos: 1 };
        let ticket = checked(|request| request.not_before = Some(at)).unwrap();
        assert_eq!(ticket.not_before, Some(Timestamp(7001)));
    }

    proptest! {
        /// Nothing off the wire breaks it, and what it lets through is within the limits.
        #[test]
        fn no_times_break_it(seconds in any::<i64>(), nanos in any::<i32>(), retries in any::<u32>()) {
            let time = WireDuration { seconds, nanos };
            let stored = checked(|request| {
                request.timeout = Some(time);
                request.keep_result_for = Some(time);
                request.not_before = Some(WireTimestamp { seconds, nanos });
                request.retries = Some(retries);
            });
            if let Ok(ticket) = stored {
                prop_assert!(ticket.retries <= super::MOST_RETRIES);
                prop_assert!(ticket.keep_result_for <= super::LONGEST_KEPT);
                prop_assert!(ticket.timeout.is_some_and(|timeout| timeout <= super::LONGEST_TIMEOUT));
            }
        }
    }
}
