//! Files of answers, and whose they are.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Origin, Requests, of_map, of_ticket, tell_ticket};

const METHOD: &str = "a.v1.A/Do";
const TICKET: &str = "operations/0198c3ab-7d12-7c3e-9f4a-1b2c9f3ac2b1";

/// Requests whose answers go to no file.
pub(crate) fn untold() -> Requests {
    Requests::open(None, METHOD, None, None).unwrap()
}

/// Those of a map that goes on with a file that has an answer to the first of these lines.
pub(crate) fn answered(lines: &str) -> (TempDir, Requests) {
    let (folder, file) = empty();
    let mut requests = Requests::open(Some(&file), METHOD, None, None).unwrap();
    add(&mut requests, lines).unwrap();
    requests.tell().unwrap();
    drop(requests);
    std::fs::write(&file, "{\"index\":0,\"response\":{}}\n").unwrap();
    let earlier = of_map(&file, METHOD).unwrap();
    let requests = Requests::open(Some(&file), METHOD, earlier, None).unwrap();
    (folder, requests)
}

/// Those of a map that goes on with a file whose last answer is to item `last`.
pub(crate) fn again(file: &Path, last: u64) -> anyhow::Result<Requests> {
    Requests::open(Some(file), METHOD, of_map(file, METHOD)?, Some(last))
}

fn empty() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("out.jsonl");
    std::fs::write(&file, "").unwrap();
    (folder, file)
}

fn add(requests: &mut Requests, lines: &str) -> anyhow::Result<()> {
    lines.lines().try_for_each(|line| requests.add(line.as_bytes()))
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("out.jsonl")
}

fn note(folder: &TempDir) -> PathBuf {
    folder.path().join("out.jsonl.turno")
}

fn said(folder: &TempDir) -> String {
    std::fs::read_to_string(note(folder)).unwrap()
}

#[test]
fn it_says_what_was_read_on_one_line() {
    let (folder, mut requests) = answered("a\nb\n");
    let origin: Origin = serde_json::from_str(&said(&folder)).unwrap();
    assert!(
        matches!(&origin, Origin::Map { method, requests: 2, xxh3 } if method == METHOD && xxh3.len() == 32)
    );
    assert!(!requests.are_known());
    // The blank around a line is none of it.
    add(&mut requests, " a\r\nb ").unwrap();
    assert!(requests.are_known());
    requests.tell().unwrap();
    assert_eq!(serde_json::from_str::<Origin>(&said(&folder)).unwrap(), origin);
    add(&mut requests, "c").unwrap();
    requests.end().unwrap();
    requests.tell().unwrap();
    assert!(said(&folder).contains(r#""requests":3,"#) && said(&folder).lines().count() == 1);
    // Read once more, they are counted from the first on, and it says no less meanwhile.
    assert_eq!(requests.again(), 3);
    for (line, told) in [("a", 3), ("b", 3), ("c", 3), ("d", 4)] {
        add(&mut requests, line).unwrap();
        requests.tell().unwrap();
        assert!(said(&folder).contains(&format!("\"requests\":{told},")), "{line}");
    }
}

#[test]
fn other_requests_are_told_apart() {
    for (lines, why) in [
        ("a\nc\n", "has answers to other requests: the first 2 of them differ from these, as "),
        ("b\na\n", "the first 2 of them differ"),
        ("ab\n\n", "the first 2 of them differ"),
        ("a\n", "there were 2 at least, and these are 1, as "),
    ] {
        let (folder, mut requests) = answered("a\nb\n");
        let error = add(&mut requests, lines).and_then(|()| requests.end()).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("--unchecked"), "{lines:?}: {error}");
        assert!(said(&folder).contains(r#""requests":2,"#), "it says so still");
    }
}

#[test]
fn an_answer_to_what_was_not_read_is_another_maps() {
    let (folder, _requests) = answered("a\nb\n");
    assert!(again(&file(&folder), 1).is_ok());
    let error = again(&file(&folder), 2).err().unwrap().to_string();
    assert!(error.contains("one of them is to item 2, and 2 were read, as "), "{error}");
}

#[test]
fn other_methods_and_tickets_are_told_apart() {
    let (folder, _requests) = answered("a\n");
    let (file, note) = (file(&folder), note(&folder));
    let text = |error: anyhow::Error| {
        error.to_string().replace(note.to_str().unwrap(), "NOTE").replace(file.to_str().unwrap(), "FILE")
    };
    let what_to_do = "as NOTE says; write to another file, or add --unchecked to go on all the same";
    assert_eq!(
        text(of_map(&file, "a.v1.A/Other").unwrap_err()),
        format!("FILE has answers of a map of a.v1.A/Do, not of a map of a.v1.A/Other, {what_to_do}")
    );
    assert_eq!(
        text(of_ticket(&file, TICKET).unwrap_err()),
        format!("FILE has answers of a map of a.v1.A/Do, not of the ticket {TICKET}, {what_to_do}")
    );
    tell_ticket(&file, TICKET).unwrap();
    // Where a longer line was.
    assert_eq!(said(&folder), format!("{{\"ticket\":\"{TICKET}\"}}\n"));
    of_ticket(&file, TICKET).unwrap();
    let error = text(of_map(&file, METHOD).unwrap_err());
    let hint = "\n`turno tickets results 9f3ac2b1 --follow --out FILE --resume` goes on with those";
    assert_eq!(
        error,
        format!("FILE has answers of the ticket {TICKET}, not of a map of a.v1.A/Do, {what_to_do}{hint}")
    );
    assert!(
        of_ticket(&file, "operations/0198")
            .unwrap_err()
            .to_string()
            .contains("not of the ticket operations/0198,")
    );
}

#[test]
fn what_says_nothing_is_not_trusted() {
    let (folder, _requests) = answered("a\n");
    let (file, note) = (file(&folder), note(&folder));
    for text in ["", "{", "{}", "{\"method\":\"a.v1.A/Do\"}", "milk"] {
        std::fs::write(&note, text).unwrap();
        let error = of_map(&file, METHOD).unwrap_err().to_string();
        assert!(error.contains("out.jsonl.turno is damaged") && error.contains("--unchecked"), "{error}");
    }
    std::fs::remove_file(&note).unwrap();
    let error = of_ticket(&file, TICKET).unwrap_err().to_string();
    assert!(error.contains("out.jsonl.turno is not there") && error.contains("--unchecked"), "{error}");
}

#[test]
fn a_file_without_answers_is_anybodys() {
    let (folder, file) = empty();
    assert!(of_map(&file, METHOD).unwrap().is_none());
    of_ticket(&file, TICKET).unwrap();
    of_ticket(&folder.path().join("none.jsonl"), TICKET).unwrap();
    // Whatever was there before has said.
    std::fs::write(note(&folder), "milk ".repeat(100)).unwrap();
    assert!(Requests::open(Some(&file), METHOD, None, None).unwrap().are_known());
    assert!(said(&folder).starts_with(r#"{"method":"a.v1.A/Do","requests":0,"xxh3":""#), "{}", said(&folder));
    assert!(said(&folder).ends_with("\"}\n"));
}

#[test]
fn of_what_is_no_file_nothing_is_said() {
    let null = Path::new("/dev/null");
    tell_ticket(null, TICKET).unwrap();
    assert!(Requests::open(Some(null), METHOD, None, None).unwrap().note.is_none());
    assert!(!Path::new("/dev/null.turno").exists());
}
