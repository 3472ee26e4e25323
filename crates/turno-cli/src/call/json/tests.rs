//! JSON to messages and back, on an album of pictures; its descriptors serve the other tests of `call` too.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use super::{can_hold_bytes, parse, parse_all, render};

const ALBUM: &str = r#"
    syntax = "proto3";
    package album.v1;
    import "google/protobuf/empty.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";
    message Picture {
      bytes body = 1;
      uint32 width = 2;
      google.protobuf.Timestamp taken_at = 3;
    }
    message Album {
      string title = 1;
      Picture cover = 2;
      repeated Picture pages = 3;
      map<string, bytes> files = 4;
      map<string, Picture> by_name = 5;
      repeated bytes parts = 6;
      google.protobuf.BytesValue note = 7;
      Album parent = 8;
      google.protobuf.Struct extra = 9;
      oneof back { bytes scan = 10; string text = 11; }
      repeated sint32 marks = 12;
      map<sint32, uint32> seen = 13;
    }
    message Family { string name = 1; Family child = 2; google.protobuf.Struct extra = 3; }
    enum Wood { WOOD_UNSPECIFIED = 0; OAK = 1; BEECH = 2; }
    enum Width {
      W0 = 0; W1 = 1; W2 = 2; W3 = 3; W4 = 4; W5 = 5; W6 = 6;
      W7 = 7; W8 = 8; W9 = 9; W10 = 10; W11 = 11; W12 = 12; W13 = 13;
    }
    message Shelf {
      Wood wood = 1;
      repeated Wood boards = 2;
      map<sint32, Wood> backs = 3;
      Width width = 4;
    }
    service Studio {
      rpc Print(Album) returns (Album);
      rpc Pages(Album) returns (stream Picture);
      rpc Upload(stream Picture) returns (Album);
      rpc Drop(Album) returns (google.protobuf.Empty);
    }
"#;

/// The album's file and its imports, as a server gives them to reflection.
pub(crate) fn encoded_files() -> &'static [u8] {
    static FILES: OnceLock<Vec<u8>> = OnceLock::new();
    FILES.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("album.proto"), ALBUM).unwrap();
        let mut compiler = protox::Compiler::new([dir.path()]).unwrap();
        compiler.include_imports(true).open_file("album.proto").unwrap();
        compiler.encode_file_descriptor_set()
    })
}

fn message(name: &str) -> MessageDescriptor {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(encoded_files()).unwrap()).get_message_by_name(name).unwrap()
}

pub(crate) fn album() -> MessageDescriptor {
    message("album.v1.Album")
}

pub(crate) fn picture() -> MessageDescriptor {
    message("album.v1.Picture")
}

fn refused(text: &str) -> String {
    format!("{:#}", parse(&album(), text).unwrap_err())
}

fn bytes<'a>(message: &'a DynamicMessage, field: &str) -> &'a [u8] {
    let field = message.descriptor_field(field);
    message.fields().find(|(known, _)| *known == field).unwrap().1.as_bytes().unwrap()
}

/// Shorter tests.
trait DescriptorField {
    fn descriptor_field(&self, name: &str) -> prost_reflect::FieldDescriptor;
}

impl DescriptorField for DynamicMessage {
    fn descriptor_field(&self, name: &str) -> prost_reflect::FieldDescriptor {
        prost_reflect::ReflectMessage::descriptor(self).get_field_by_name(name).unwrap()
    }
}

#[test]
fn files_stand_for_bytes_wherever_bytes_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cat.jpg");
    std::fs::write(&path, [0, 1, 2]).unwrap();
    let at = format!("@{}", path.display());
    let value = serde_json::json!({
        "title": at,
        "cover": { "body": at, "takenAt": "2026-01-02T03:04:05Z" },
        "pages": [{ "body": "" }, { "body": at, "width": 7 }],
        "files": { "a": at },
        "byName": { "b": { "body": at } },
        "parts": ["AAEC", at],
        "note": at,
        "parent": { "parent": { "scan": at } },
        "extra": { "body": at },
        "text": at,
    });
    let message = parse(&album(), &value.to_string()).unwrap();
    let back = render(&message).unwrap().to_string();
    // Strings stay strings, free JSON too: the title, the text and the extra.
    assert_eq!(back.matches(&at).count(), 3, "{back}");
    assert_eq!(back.matches("\"AAEC\"").count(), 8, "{back}");
}

#[test]
fn both_spellings_of_a_field_are_read() {
    for text in [r#"{"by_name":{"b":{"width":3}}}"#, r#"{"byName":{"b":{"width":3}}}"#] {
        let message = parse(&album(), text).unwrap();
        assert_eq!(render(&message).unwrap().to_string(), r#"{"byName":{"b":{"width":3}}}"#);
    }
    assert_eq!(bytes(&parse(&album(), r#"{"scan":"AAEC"}"#).unwrap(), "scan"), [0, 1, 2]);
}

#[test]
fn a_mark_at_the_beginning_is_no_part_of_a_request() {
    let marked = "\u{feff}{\"width\":3}";
    assert_eq!(render(&parse(&picture(), marked).unwrap()).unwrap().to_string(), "{\"width\":3}");
    assert_eq!(parse_all(&picture(), &format!("{marked} {{}}")).unwrap().len(), 2);
}

#[test]
fn a_missing_file_names_the_field() {
    let error = refused(r#"{"pages":[{},{"body":"@/no/such.jpg"}]}"#);
    assert!(error.starts_with("pages[1].body: cannot read /no/such.jpg: No such file"), "{error}");
    let error = refused(r#"{"files":{"a":"@/no/such.jpg"}}"#);
    assert!(error.starts_with("files[a]: cannot read"), "{error}");
}

#[test]
fn an_unknown_field_is_refused_with_the_known_ones() {
    assert_eq!(
        refused(r#"{"cover":{"widht":1}}"#),
        "cover.widht: no such field; did you mean width?\nalbum.v1.Picture has: body, width, takenAt"
    );
    let empty = album().parent_pool().get_message_by_name("google.protobuf.Empty").unwrap();
    let error = parse(&empty, r#"{"x":1}"#).unwrap_err().to_string();
    assert_eq!(error, "x: no such field\ngoogle.protobuf.Empty has: no fields");
}

#[test]
fn a_wrong_value_names_the_field() {
    for (text, start) in [
        (r#"{"title":"x","cover":{"width":"wide"}}"#, "cover.width: "),
        (r#"{"title":3}"#, "title: "),
        (r#"{"pages":[{},{"width":"wide"}]}"#, "pages[1].width: "),
        (r#"{"byName":{"a":{},"b":{"width":"wide"}}}"#, "byName[b].width: "),
        (r#"{"pages":{}}"#, "pages: "),
        (r#"{"parent":{"scan":"not base64!"}}"#, "parent.scan: "),
        (r#"{"cover":{"takenAt":"noon"}}"#, "cover.takenAt: "),
        (r#"{"cover":[]}"#, "cover: "),
        ("[]", "album.v1.Album: "),
        ("{", "the request is not JSON: EOF while parsing"),
    ] {
        let error = refused(text);
        assert!(error.starts_with(start), "{text}: {error}");
    }
}

#[test]
fn a_number_that_does_not_fit_is_told_what_would() {
    for number in ["-3", "4294967296"] {
        let error = refused(&format!(r#"{{"cover":{{"width":{number}}}}}"#));
        assert_eq!(error, "cover.width: out of range: it is from 0 to 4294967295");
    }
    let marks = "out of range: it is from -2147483648 to 2147483647";
    assert_eq!(refused(r#"{"marks":[1,2,2147483648]}"#), format!("marks[2]: {marks}"));
    let seen = "out of range: it is from 0 to 4294967295";
    assert_eq!(refused(r#"{"seen":{"1":2,"3":-4}}"#), format!("seen[3]: {seen}"));
    // Of an entry's key the path says enough.
    let key = refused(r#"{"seen":{"1":2,"2147483648":3}}"#);
    assert!(key.starts_with("seen[2147483648]: ") && !key.contains(seen), "{key}");
}

#[test]
fn a_value_that_an_enum_has_not_is_refused_with_those_that_it_has() {
    let refused = |text| parse(&message("album.v1.Shelf"), text).unwrap_err().to_string();
    let woods = "album.v1.Wood has: WOOD_UNSPECIFIED, OAK, BEECH";
    for (text, what) in [
        (r#"{"wood":"OAKS"}"#, "wood: no such value \"OAKS\"; did you mean OAK?"),
        (r#"{"boards":["OAK","ELM"]}"#, "boards[1]: no such value \"ELM\""),
        (r#"{"backs":{"1":"BEECH","2":"ELM"}}"#, "backs[2]: no such value \"ELM\""),
    ] {
        assert_eq!(refused(text), format!("{what}\n{woods}"));
    }
    let widths = "W0, W1, W2, W3, W4, W5, W6, W7, W8, W9, W10, W11 and 2 more";
    let huge = refused(r#"{"width":"HUGE"}"#);
    assert_eq!(huge, format!("width: no such value \"HUGE\"\nalbum.v1.Width has: {widths}"));
    for other in [r#"{"backs":{"first":"OAK"}}"#, r#"{"wood":true}"#, r#"{"wood":4294967296}"#] {
        assert!(!refused(other).contains("no such value"), "{other}: {}", refused(other));
    }
}

#[test]
fn what_can_hold_bytes_is_known_without_an_answer() {
    assert!(can_hold_bytes(&album()) && can_hold_bytes(&picture()));
    assert!(!can_hold_bytes(&message("album.v1.Family")));
    assert!(can_hold_bytes(&message("google.protobuf.BytesValue")));
}
