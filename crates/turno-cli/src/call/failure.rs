//! A gRPC error in words: its code, its message, and what its `google.rpc` details say.

use std::error::Error as _;
use std::io::Write;
use std::sync::OnceLock;

use base64::Engine as _;
use prost_reflect::prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};
use tonic::{Code, Status};
use turno_proto::status::code_name;

use super::dial::innermost;

/// Of a connection that breaks tonic says `UNKNOWN`, `INTERNAL` or `CANCELLED`, and of one with too much on it
/// `RESOURCE_EXHAUSTED`, as if a server had said so. What a server says has no cause on this side, and stays as it is.
pub(crate) fn of_connection(error: anyhow::Error, address: &str) -> anyhow::Error {
    const BROKEN: [Code; 4] = [Code::Unknown, Code::Internal, Code::Cancelled, Code::ResourceExhausted];
    let Some(status) = error.downcast_ref::<Status>() else { return error };
    match status.source() {
        Some(cause) if BROKEN.contains(&status.code()) => {
            let why = innermost(cause);
            let what =
                format!("the connection to {address} broke during the call, which may have run ({why})");
            Status::unavailable(what).into()
        }
        _ => error,
    }
}

/// Writes `status` for a person, or as one JSON object. `known` has the types of the service that was called,
/// which may be among its details; Google's and Turno's own are known anyway.
pub(crate) fn report(
    status: &Status,
    known: &DescriptorPool,
    as_json: bool,
    to: &mut dyn Write,
) -> std::io::Result<()> {
    if as_json {
        return writeln!(to, "{}", object(status, known));
    }
    writeln!(to, "{}: {}", code_name(status.code()), status.message())?;
    let details = details(status, known);
    let mut lines = details.iter().flat_map(lines);
    lines.try_for_each(|line| writeln!(to, "  {line}"))
}

/// The error as one JSON object.
pub(crate) fn object(status: &Status, known: &DescriptorPool) -> Value {
    let (name, details) = (code_name(status.code()), details(status, known));
    json!({ "code": name, "message": status.message(), "details": details })
}

/// The details as protobuf's JSON, each with its `@type`.
fn details(status: &Status, known: &DescriptorPool) -> Vec<Value> {
    let Ok(rich) = tonic_types::Status::decode(status.details()) else { return Vec::new() };
    rich.details.iter().map(|detail| decode(&detail.type_url, &detail.value, known)).collect()
}

fn decode(type_url: &str, value: &[u8], known: &DescriptorPool) -> Value {
    let mut fields = match message_type(type_url, known).map(|message| DynamicMessage::decode(message, value))
    {
        Some(Ok(message)) => serde_json::to_value(&message).unwrap_or_default(),
        _ => json!({ "value": base64::engine::general_purpose::STANDARD.encode(value) }),
    };
    let mut object = serde_json::Map::from_iter([("@type".to_owned(), type_url.into())]);
    match fields.as_object_mut() {
        Some(fields) => object.append(fields),
        // Google's types with a JSON of their own.
        None => drop(object.insert("value".to_owned(), fields)),
    }
    Value::Object(object)
}

/// Google's, those that are known, or else Turno's own: tickets end with these, whatever their methods are.
fn message_type(type_url: &str, known: &DescriptorPool) -> Option<MessageDescriptor> {
    static GOOGLE_RPC: OnceLock<DescriptorPool> = OnceLock::new();
    static TURNO: OnceLock<DescriptorPool> = OnceLock::new();
    let google = GOOGLE_RPC.get_or_init(|| {
        DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .expect("tonic-types ships sound descriptors")
    });
    let turno = || {
        TURNO.get_or_init(|| {
            DescriptorPool::decode(turno_proto::FILE_DESCRIPTOR_SET)
                .expect("turno-proto ships sound descriptors")
        })
    };
    let name = type_url.rsplit('/').next()?;
    let known = google.get_message_by_name(name).or_else(|| known.get_message_by_name(name));
    known.or_else(|| turno().get_message_by_name(name))
}

/// What a detail says, in a line or a few.
fn lines(detail: &Value) -> Vec<String> {
    let type_url = text(detail, "@type");
    let name = type_url.rsplit('/').next().unwrap_or_default();
    match name.strip_prefix("google.rpc.") {
        Some("BadRequest") => each(detail, "fieldViolations", bad_field),
        Some("PreconditionFailure") => each(detail, "violations", |it| {
            format!("{} {}: {}", text(it, "type"), text(it, "subject"), text(it, "description"))
        }),
        Some("QuotaFailure") => each(detail, "violations", |it| {
            format!("quota of {}: {}", text(it, "subject"), text(it, "description"))
        }),
        Some("Help") => {
            each(detail, "links", |it| format!("see {} ({})", text(it, "url"), text(it, "description")))
        }
        Some("RetryInfo") => vec![format!("try again in {}", text(detail, "retryDelay"))],
        Some("ErrorInfo") => vec![reason(detail)],
        Some("LocalizedMessage") => vec![text(detail, "message").to_owned()],
        _ => vec![any(name, detail)],
    }
}

fn bad_field(violation: &Value) -> String {
    format!("{}: {}", text(violation, "field"), text(violation, "description"))
}

/// "OVEN_COLD (kitchen.example), oven=3"
fn reason(detail: &Value) -> String {
    let mut line = format!("{} ({})", text(detail, "reason"), text(detail, "domain"));
    for (key, value) in detail["metadata"].as_object().into_iter().flatten() {
        line.push_str(&format!(", {key}={}", value.as_str().unwrap_or_default()));
    }
    line
}

fn any(name: &str, detail: &Value) -> String {
    let fields: serde_json::Map<_, _> =
        detail.as_object().into_iter().flatten().filter(|(key, _)| *key != "@type").map(own).collect();
    format!("{name} {}", Value::Object(fields))
}

fn own((key, value): (&String, &Value)) -> (String, Value) {
    (key.clone(), value.clone())
}

fn each(detail: &Value, list: &str, line: impl Fn(&Value) -> String) -> Vec<String> {
    detail[list].as_array().into_iter().flatten().map(line).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{of_connection, report};
    use crate::call::json::tests::{album, picture};
    use prost_reflect::DescriptorPool;
    use prost_reflect::prost::Message as _;
    use std::sync::Arc;
    use std::time::Duration;
    use tonic::{Code, Status};
    use tonic_types::{ErrorDetails, StatusExt as _};
    use turno_proto::v1::MapSummary;

    fn reported(status: &Status, known: &DescriptorPool, as_json: bool) -> String {
        let mut screen = Vec::new();
        report(status, known, as_json, &mut screen).unwrap();
        String::from_utf8(screen).unwrap()
    }

    fn rich() -> Status {
        let mut details = ErrorDetails::new();
        details
            .add_bad_request_violation("width", "must be at least 1")
            .add_bad_request_violation("url", "is empty")
            .set_retry_info(Some(Duration::from_millis(1500)))
            .set_error_info("OVEN_COLD", "kitchen.example", [("oven".to_owned(), "3".to_owned())])
            .add_quota_failure_violation("tenant:a", "10 a second")
            .add_precondition_failure_violation("TOS", "a.example", "not accepted")
            .add_help_link("the manual", "https://a.example/help")
            .set_localized_message("de-CH", "Ofen kalt")
            .set_resource_info("oven", "3", "", "cold");
        Status::with_error_details(Code::InvalidArgument, "not like this", details)
    }

    #[test]
    fn a_connection_that_breaks_is_told_from_what_a_server_says() {
        let broken = std::io::Error::new(std::io::ErrorKind::BrokenPipe, "broken pipe");
        let broken = Status::from_error(Box::new(broken));
        assert_eq!(broken.code(), Code::Unknown);
        let told = of_connection(broken.into(), "127.0.0.1:7070");
        let expected = "UNAVAILABLE: the connection to 127.0.0.1:7070 broke during the call, which may have run (broken pipe)\n";
        assert_eq!(reported(told.downcast_ref().unwrap(), &DescriptorPool::new(), false), expected);
        let mut crowded = Status::resource_exhausted("h2 protocol error: http2 error");
        crowded.set_source(Arc::new(std::io::Error::other("too_many_data_frames")));
        let told = of_connection(crowded.into(), "127.0.0.1:7070").to_string();
        assert!(told.contains("broke during the call, which may have run (too_many_data_frames)"), "{told}");
        for said in [Status::unknown("who knows"), Status::resource_exhausted("16384 calls are in flight")] {
            let code = said.code();
            let told = of_connection(said.into(), "127.0.0.1:7070");
            assert_eq!(told.downcast_ref::<Status>().unwrap().code(), code);
        }
    }

    #[test]
    fn a_person_reads_every_detail() {
        let expected = "INVALID_ARGUMENT: not like this\n  \
            try again in 1.500s\n  \
            quota of tenant:a: 10 a second\n  \
            OVEN_COLD (kitchen.example), oven=3\n  \
            TOS a.example: not accepted\n  \
            width: must be at least 1\n  \
            url: is empty\n  \
            google.rpc.ResourceInfo {\"resourceType\":\"oven\",\"resourceName\":\"3\",\"description\":\"cold\"}\n  \
            see https://a.example/help (the manual)\n  \
            Ofen kalt\n";
        assert_eq!(reported(&rich(), &DescriptorPool::new(), false), expected);
    }

    #[test]
    fn a_program_reads_them_as_json() {
        let text = reported(&rich(), &DescriptorPool::new(), true);
        assert!(
            text.starts_with(r#"{"code":"INVALID_ARGUMENT","message":"not like this","details":["#),
            "{text}"
        );
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["details"][0]["@type"], "type.googleapis.com/google.rpc.RetryInfo");
        assert_eq!(value["details"][4]["fieldViolations"][1]["field"], "url");
    }

    #[test]
    fn details_of_the_services_own_are_read_and_unknown_ones_are_kept() {
        let mine = crate::call::json::parse(&album(), r#"{"title":"cats"}"#).unwrap().encode_to_vec();
        let mut rich = tonic_types::Status { code: 9, message: "no".into(), details: Vec::new() };
        rich.details.resize_with(2, Default::default);
        rich.details[0].type_url = "type.googleapis.com/album.v1.Album".into();
        rich.details[0].value = mine;
        rich.details[1].type_url = "type.googleapis.com/who.knows.What".into();
        rich.details[1].value = vec![1, 2, 3];
        let status = Status::with_details(Code::FailedPrecondition, "no", rich.encode_to_vec().into());
        let text = reported(&status, picture().parent_pool(), false);
        assert_eq!(
            text,
            "FAILED_PRECONDITION: no\n  album.v1.Album {\"title\":\"cats\"}\n  who.knows.What {\"value\":\"AQID\"}\n"
        );
    }

    #[test]
    fn details_of_turnos_own_are_read_whatever_is_known() {
        let summary = MapSummary { items: 200, succeeded: 0, failed: 1 }.encode_to_vec();
        let mut rich = tonic_types::Status { code: 10, message: "no".into(), details: Vec::new() };
        rich.details.resize_with(1, Default::default);
        rich.details[0].type_url = "type.googleapis.com/turno.v1.MapSummary".into();
        rich.details[0].value = summary;
        let status = Status::with_details(Code::Aborted, "no", rich.encode_to_vec().into());
        let expected = "ABORTED: no\n  turno.v1.MapSummary {\"items\":\"200\",\"failed\":\"1\"}\n";
        assert_eq!(reported(&status, &DescriptorPool::new(), false), expected);
    }

    #[test]
    fn a_plain_error_is_one_line() {
        let pool = DescriptorPool::new();
        assert_eq!(reported(&Status::deadline_exceeded("late"), &pool, false), "DEADLINE_EXCEEDED: late\n");
        let json = reported(&Status::with_details(Code::Aborted, "x", (&b"\xff"[..]).into()), &pool, true);
        assert_eq!(json, "{\"code\":\"ABORTED\",\"message\":\"x\",\"details\":[]}\n");
    }
}
