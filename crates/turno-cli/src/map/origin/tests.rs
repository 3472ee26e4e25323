//! Files of answers, and whose they are.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Note, Of, Origin, Requests, digest, has_answers, of_map, of_ticket};

const METHOD: &str = "a.v1.A/Do";
const TICKET: &str = "operations/0198c3ab-7d12-7c3e-9f4a-1b2c9f3ac2b1";

/// Requests whose answers go to no file.
pub(crate) fn untold() -> Requests {
    Requests::open(None, METHOD, None, None).unwrap()
}

/// Those of a map that goes on with a file that has an answer to the first of these lines.
pub(crate) fn answered(lines: &str) -> (TempDir, Requests) {
    let (folder, file) = empty();
    let mut requests = Requests::open(Note::open(&file, true).unwrap(), METHOD, None, None).unwrap();
    add(&mut requests, lines).unwrap();
    requests.tell().unwrap();
    drop(requests);
    std::fs::write(&file, "{\"index\":0,\"response\":{}}\n").unwrap();
    let earlier = of_map(&file, METHOD).unwrap();
    let requests = Requests::open(Note::open(&file, true).unwrap(), METHOD, earlier, None).unwrap();
    (folder, requests)
}

/// Those of a map that goes on with a file whose last answer is to item `last`.
pub(crate) fn again(file: &Path, last: u64) -> anyhow::Result<Requests> {
    let earlier = of_map(file, METHOD)?;
    Requests::open(Note::open(file, true)?, METHOD, earlier, Some(last))
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
        (
            "a\nc\n",
            "has answers to other requests: the first 2 of them differ from these (those count that were read ahead of \
             their answers), as ",
        ),
        ("b\na\n", "the first 2 of them differ"),
        ("ab\n\n", "the first 2 of them differ"),
        ("a\n", "there were 2 at least, and these are 1 (those count "),
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
fn who_vouches_for_answers_has_a_request_for_each() {
    let (folder, _requests) = answered("a\n");
    let open = || Requests::open(Note::open(&file(&folder), false).unwrap(), METHOD, None, Some(2)).unwrap();
    let mut requests = open();
    add(&mut requests, "a\nb\nc\n").unwrap();
    requests.end().unwrap();
    let mut requests = open();
    add(&mut requests, "a\nb\n").unwrap();
    let error = requests.end().unwrap_err().to_string();
    assert!(error.starts_with("there are answers to 3 requests at least, and these are 2: "), "{error}");
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
    Note::open(&file, true).unwrap().unwrap().tell_ticket(TICKET).unwrap();
    let first = digest(b"{\"index\":0,\"response\":{}}");
    assert_eq!(said(&folder), format!("{{\"ticket\":\"{TICKET}\",\"first\":\"{first}\"}}\n"));
    of_ticket(&file, TICKET).unwrap();
    let error = text(of_map(&file, METHOD).unwrap_err());
    let hint = format!("\n`turno tickets results {TICKET} --follow --out FILE --resume` goes on with those");
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
    for text in ["{", "{}", "{\"method\":\"a.v1.A/Do\"}", "milk"] {
        std::fs::write(&note, text).unwrap();
        let error = of_map(&file, METHOD).unwrap_err().to_string();
        assert!(error.contains("out.jsonl.turno is damaged") && error.contains("--unchecked"), "{error}");
    }
    // An empty one is as good as none.
    std::fs::write(&note, "").unwrap();
    let empty = of_ticket(&file, TICKET).unwrap_err().to_string();
    std::fs::remove_file(&note).unwrap();
    let error = of_ticket(&file, TICKET).unwrap_err().to_string();
    assert!(error.contains("out.jsonl.turno is not there") && error.contains("--unchecked"), "{error}");
    assert_eq!(empty, error);
}

#[test]
fn a_file_without_answers_is_anybodys() {
    let (folder, file) = empty();
    assert!(of_map(&file, METHOD).unwrap().is_none());
    of_ticket(&file, TICKET).unwrap();
    of_ticket(&folder.path().join("none.jsonl"), TICKET).unwrap();
    // Whatever was there before has said.
    std::fs::write(note(&folder), "milk ".repeat(100)).unwrap();
    let mut requests = Requests::open(Note::open(&file, true).unwrap(), METHOD, None, None).unwrap();
    assert!(requests.are_known());
    requests.tell().unwrap();
    assert!(said(&folder).starts_with(r#"{"method":"a.v1.A/Do","requests":0,"xxh3":""#), "{}", said(&folder));
    assert!(said(&folder).ends_with("\"}\n"));
}

#[test]
fn a_file_is_known_by_its_first_line() {
    let (folder, mut requests) = answered("a\nb\n");
    add(&mut requests, "a\nb").unwrap();
    requests.tell().unwrap();
    assert!(of_map(&file(&folder), METHOD).unwrap().is_some());
    // What follows is not looked at, nor a line that is not whole.
    for text in ["{\"index\":0,\"response\":{}}\n{\"index\":1", "{\"index\":1"] {
        std::fs::write(file(&folder), text).unwrap();
        assert!(of_map(&file(&folder), METHOD).is_ok(), "{text}");
    }
    std::fs::write(file(&folder), "{\"index\":1,\"response\":{}}\n").unwrap();
    let error = of_map(&file(&folder), METHOD).unwrap_err().to_string();
    assert!(error.contains("out.jsonl.turno is of another file") && error.contains("--unchecked"), "{error}");
}

#[test]
fn the_first_line_is_told_of_once_it_is_there() {
    let (folder, file) = empty();
    let note = Note::open(&file, true).unwrap().unwrap();
    // Nobody has said yet what map it is of.
    note.bind(digest(b"milk")).unwrap();
    assert_eq!(said(&folder), "");
    let mut requests = Requests::open(Some(note.clone()), METHOD, None, None).unwrap();
    add(&mut requests, "a").unwrap();
    requests.tell().unwrap();
    assert!(said(&folder).contains(&digest(b"milk")));
    note.bind(digest(b" {}\n")).unwrap();
    assert!(said(&folder).contains(&digest(b"{}")) && said(&folder).contains(r#""requests":1,"#));
}

#[test]
fn what_it_says_stays_until_requests_are_sent() {
    let (folder, _requests) = answered("a\nb\n");
    let before = said(&folder);
    let note = Note::open(&file(&folder), false).unwrap();
    let mut requests = Requests::open(note, "a.v1.A/Other", None, Some(1)).unwrap();
    assert_eq!(said(&folder), before);
    // And until they are as many as have answers.
    for (line, is_told) in [("c", false), ("d", true)] {
        add(&mut requests, line).unwrap();
        requests.tell().unwrap();
        assert_eq!(said(&folder).contains("a.v1.A/Other"), is_told, "{line}");
    }
}

#[test]
fn a_note_that_cannot_be_written_is_missed_only_where_something_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    // With what is added to it, it is too long for a name.
    let file = folder.path().join("a".repeat(250));
    std::fs::write(&file, "").unwrap();
    assert!(Note::open(&file, false).unwrap().is_none());
    let error = Note::open(&file, true).err().unwrap().to_string();
    assert!(error.contains("--unchecked goes on without it"), "{error}");
    // One that is there would be believed.
    let (folder, file) = empty();
    std::fs::create_dir(note(&folder)).unwrap();
    let error = Note::open(&file, false).err().unwrap().to_string();
    assert!(error.contains("out.jsonl.turno, and what it says would be wrong; remove it"), "{error}");
}

#[test]
fn what_is_refused_is_offered_nothing_that_would_be_refused_too() {
    let (folder, _requests) = answered("a\n");
    let file = file(&folder);
    let text = |of| has_answers(&file, of).to_string().replace(file.to_str().unwrap(), "FILE");
    assert_eq!(
        text(Of::Method(METHOD)),
        "FILE has answers already: --resume goes on with it, if they are of the same requests"
    );
    let others = "FILE has answers already, of a map of a.v1.A/Do: write to another file";
    assert_eq!(text(Of::Method("a.v1.A/Other")), others);
    assert_eq!(text(Of::Ticket(TICKET)), others);
    Note::open(&file, true).unwrap().unwrap().tell_ticket(TICKET).unwrap();
    assert_eq!(text(Of::Ticket(TICKET)), "FILE has answers already: --resume goes on with it");
    let others = format!(
        "FILE has answers already, of the ticket {TICKET}: write to another file; `turno tickets results {TICKET} \
         --follow --out FILE --resume` goes on with those"
    );
    assert_eq!(text(Of::NewTicket), others);
    assert_eq!(text(Of::Method(METHOD)), others);
    std::fs::remove_file(note(&folder)).unwrap();
    let unknown = "FILE has answers already, and nothing says of what map: write to another file";
    assert_eq!(text(Of::Method(METHOD)), unknown);
}
