//! JSON and messages: a request out of what the user wrote, an answer into JSON. The one walk over both that
//! knows where bytes fields are is here, so that they can come from and go to files.

use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

use super::nearest;

/// The JSON that REQUEST stands for: itself, `@file.json`, or `-` for what stdin has.
pub(crate) fn read(request: &str) -> anyhow::Result<String> {
    match request.strip_prefix('@') {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read the request from {path}"))
        }
        None if request == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read the request from stdin")?;
            Ok(text)
        }
        None => Ok(request.to_owned()),
    }
}

/// A message out of JSON, with `"@path"` in a bytes field replaced by that file's content.
pub(crate) fn parse(descriptor: &MessageDescriptor, text: &str) -> anyhow::Result<DynamicMessage> {
    message(descriptor, serde_json::from_str(unmarked(text)).context("the request is not JSON")?)
}

/// The messages of a stream, one JSON object after another.
pub(crate) fn parse_all(descriptor: &MessageDescriptor, text: &str) -> anyhow::Result<Vec<DynamicMessage>> {
    let values = serde_json::Deserializer::from_str(unmarked(text)).into_iter();
    let parsed = (1..).zip(values).map(|(place, value)| {
        let value = value.with_context(|| format!("request {place} of the stream is not JSON"))?;
        message(descriptor, value).with_context(|| format!("request {place} of the stream"))
    });
    parsed.collect()
}

/// Some editors begin a file with a byte order mark.
fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn message(descriptor: &MessageDescriptor, mut value: Value) -> anyhow::Result<DynamicMessage> {
    each_bytes(descriptor, &mut value, "", &mut read_bytes)?;
    DynamicMessage::deserialize(descriptor.clone(), &value).map_err(|error| {
        let (field, error) = blame(descriptor, &value, "").unwrap_or((String::new(), error.to_string()));
        let field = if field.is_empty() { descriptor.full_name() } else { &field };
        anyhow!("{field}: {error}")
    })
}

/// A message as JSON, its fields in the order of their numbers.
pub(crate) fn render(message: &DynamicMessage) -> anyhow::Result<Value> {
    serde_json::to_value(message).context("the answer cannot be written as JSON")
}

/// What a bytes field's JSON stands for.
pub(crate) fn decode(base64: &str) -> anyhow::Result<Vec<u8>> {
    STANDARD.decode(base64).context("bytes that are not base64")
}

fn read_bytes(field: &str, text: &mut String) -> anyhow::Result<()> {
    if let Some(path) = text.strip_prefix('@') {
        let bytes = std::fs::read(Path::new(path)).with_context(|| format!("{field}: cannot read {path}"))?;
        *text = STANDARD.encode(bytes);
    }
    Ok(())
}

/// Who is told of each bytes field: its path ("pages[2].body") and its JSON.
pub(crate) type Visit<'a> = dyn FnMut(&str, &mut String) -> anyhow::Result<()> + 'a;

/// Visits every bytes field of `value`, depth first. A field that `message` does not have is an error.
pub(crate) fn each_bytes(
    message: &MessageDescriptor,
    value: &mut Value,
    path: &str,
    visit: &mut Visit<'_>,
) -> anyhow::Result<()> {
    if message.full_name() == "google.protobuf.BytesValue" {
        return visit_text(value, path, visit);
    }
    let Value::Object(fields) = value else { return Ok(()) };
    if has_json_of_its_own(message) {
        return Ok(());
    }
    for (key, value) in fields {
        match find(message, key) {
            Some(field) => each_of_field(&field, value, &join(path, key), visit)?,
            // An extension of proto2.
            None if key.starts_with('[') => {}
            None => return Err(unknown(message, &join(path, key), key)),
        }
    }
    Ok(())
}

fn each_of_field(
    field: &FieldDescriptor,
    value: &mut Value,
    path: &str,
    visit: &mut Visit<'_>,
) -> anyhow::Result<()> {
    match (field.kind(), value) {
        (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
            let kind = entry.map_entry_value_field().kind();
            entries
                .iter_mut()
                .try_for_each(|(key, value)| each_of_kind(&kind, value, &format!("{path}[{key}]"), visit))
        }
        (kind, Value::Array(items)) if field.is_list() => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, value)| each_of_kind(&kind, value, &format!("{path}[{index}]"), visit)),
        (kind, value) => each_of_kind(&kind, value, path, visit),
    }
}

fn each_of_kind(kind: &Kind, value: &mut Value, path: &str, visit: &mut Visit<'_>) -> anyhow::Result<()> {
    match kind {
        Kind::Bytes => visit_text(value, path, visit),
        Kind::Message(message) => each_bytes(message, value, path, visit),
        _ => Ok(()),
    }
}

fn visit_text(value: &mut Value, path: &str, visit: &mut Visit<'_>) -> anyhow::Result<()> {
    match value {
        Value::String(text) => visit(path, text),
        _ => Ok(()),
    }
}

/// Whether a message of this type can hold bytes that a walk would find.
pub(crate) fn can_hold_bytes(message: &MessageDescriptor) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    let mut ahead = vec![message.clone()];
    while let Some(message) = ahead.pop() {
        if message.full_name() == "google.protobuf.BytesValue" {
            return true;
        }
        if has_json_of_its_own(&message) || !seen.insert(message.full_name().to_owned()) {
            continue;
        }
        for field in message.fields() {
            match field.kind() {
                Kind::Bytes => return true,
                Kind::Message(inner) => ahead.push(inner),
                _ => {}
            }
        }
    }
    false
}

/// Google's types whose JSON does not follow their fields.
fn has_json_of_its_own(message: &MessageDescriptor) -> bool {
    let name = message.full_name().strip_prefix("google.protobuf.");
    name.is_some_and(|name| {
        matches!(name, "Any" | "Timestamp" | "Duration" | "FieldMask" | "Struct" | "Value" | "ListValue")
            || (name.ends_with("Value") && message.parent_file().name() == "google/protobuf/wrappers.proto")
    })
}

fn find(message: &MessageDescriptor, key: &str) -> Option<FieldDescriptor> {
    message.get_field_by_json_name(key).or_else(|| message.get_field_by_name(key))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn unknown(message: &MessageDescriptor, path: &str, key: &str) -> anyhow::Error {
    let known: Vec<String> = message.fields().map(|field| field.json_name().to_owned()).collect();
    let hint = nearest::hint(key, known.iter().map(String::as_str));
    let has = if known.is_empty() { "no fields".to_owned() } else { known.join(", ") };
    anyhow!("{path}: no such field{hint}\n{} has: {has}", message.full_name())
}

/// Finds the field that makes a message unreadable, as serde's error does not name it.
fn blame(message: &MessageDescriptor, value: &Value, path: &str) -> Option<(String, String)> {
    let Value::Object(fields) = value else { return None };
    let (key, value, error) =
        fields.iter().find_map(|(key, value)| Some((key, value, refusal(message, key, value.clone())?)))?;
    let path = join(path, key);
    let Some(field) = find(message, key) else { return Some((path, error.to_string())) };
    let (path, value, error) = match element(message, &field, key, value) {
        Some((place, value, error)) => (format!("{path}[{place}]"), value, error),
        None => (path, value, error),
    };
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    Some(match kind {
        Kind::Message(inner) => blame(&inner, value, &path).unwrap_or((path, error.to_string())),
        kind => (path, in_words(&kind, value, &error)),
    })
}

/// Of a list or a map what makes it unreadable: its place, itself, and why.
fn element<'a>(
    message: &MessageDescriptor,
    field: &FieldDescriptor,
    key: &str,
    value: &'a Value,
) -> Option<(String, &'a Value, serde_json::Error)> {
    match value {
        Value::Array(items) if field.is_list() => items.iter().enumerate().find_map(|(index, item)| {
            let error = refusal(message, key, Value::Array(vec![item.clone()]))?;
            Some((index.to_string(), item, error))
        }),
        Value::Object(entries) if field.is_map() => entries.iter().find_map(|(place, item)| {
            let error = refusal(message, key, object(place, item.clone()))?;
            Some((place.clone(), item, error))
        }),
        _ => None,
    }
}

/// Why a message with this field alone is none.
fn refusal(message: &MessageDescriptor, key: &str, value: Value) -> Option<serde_json::Error> {
    DynamicMessage::deserialize(message.clone(), &object(key, value)).err()
}

fn object(key: &str, value: Value) -> Value {
    Value::Object([(key.to_owned(), value)].into_iter().collect())
}

/// Of an enum's value that there is not, which there are. Of a number that does not fit, what would: the error itself speaks of
/// conversions.
fn in_words(kind: &Kind, value: &Value, error: &serde_json::Error) -> String {
    if let (Kind::Enum(known), Value::String(wanted)) = (kind, value)
        && known.get_value_by_name(wanted).is_none()
    {
        return no_such_value(known, wanted);
    }
    let text = error.to_string();
    if !text.contains("out of range") {
        return text;
    }
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => range(i32::MIN, i32::MAX),
        Kind::Uint32 | Kind::Fixed32 => range(u32::MIN, u32::MAX),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => range(i64::MIN, i64::MAX),
        Kind::Uint64 | Kind::Fixed64 => range(u64::MIN, u64::MAX),
        _ => text,
    }
}

/// More than these nobody looks through.
const MOST_VALUES: usize = 12;

fn no_such_value(known: &EnumDescriptor, wanted: &str) -> String {
    let names: Vec<String> = known.values().map(|value| value.name().to_owned()).collect();
    let hint = nearest::hint(wanted, names.iter().map(String::as_str));
    let (shown, others) = names.split_at(names.len().min(MOST_VALUES));
    let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    format!("no such value {wanted:?}{hint}\n{} has: {}{more}", known.full_name(), shown.join(", "))
}

fn range(least: impl Display, most: impl Display) -> String {
    format!("out of range: it is from {least} to {most}")
}

/// Refuses `--out` for a method whose answer has nothing to save.
pub(crate) fn check_can_be_saved(answer: &MessageDescriptor) -> anyhow::Result<()> {
    if !can_hold_bytes(answer) {
        bail!("--out has nothing to save: {} has no bytes field", answer.full_name());
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
