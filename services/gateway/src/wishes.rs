//! What a caller may wish of a call beside its request, in metadata: a lane, its account. Pure.

use tonic::Status;
use turno_proto::headers;
use turno_proto::mesh::v1::Entry;

use crate::quote::beginning;

const LANES: &[&str] = &[headers::BATCH, headers::CALLS];
/// Of which [`crate::bill::is_yes`] knows the first two.
const ANSWERS: &[&str] = &["1", "true", "0", "false"];

/// Refuses a wish that has no meaning: who is not heard is to know it. What is none of the mesh's is the method's own.
pub(crate) fn understood(metadata: &[Entry]) -> Result<(), Status> {
    metadata.iter().try_for_each(|Entry { key, value }| match known(key) {
        Some(known) if !known.iter().any(|known| known.as_bytes() == &value[..]) => {
            Err(misunderstood(key, value, known))
        }
        _ => Ok(()),
    })
}

/// The values that a line of metadata may have.
fn known(key: &str) -> Option<&'static [&'static str]> {
    if key.eq_ignore_ascii_case(headers::LANE) {
        Some(LANES)
    } else if key.eq_ignore_ascii_case(headers::EXPLAIN) {
        Some(ANSWERS)
    } else {
        None
    }
}

fn misunderstood(key: &str, value: &[u8], known: &[&str]) -> Status {
    let (key, value, known) = (key.to_ascii_lowercase(), String::from_utf8_lossy(value), known.join(" or "));
    Status::invalid_argument(format!("{key}: {:?} is not understood: expected {known}", beginning(&value)))
}

#[cfg(test)]
mod tests {
    use super::{Entry, understood};
    use crate::bill::is_yes;
    use tonic::Code;

    fn line(key: &str, value: &[u8]) -> Entry {
        Entry { key: key.to_owned(), value: value.to_vec().into() }
    }

    #[test]
    fn what_has_a_meaning_is_let_through_and_so_is_what_is_none_of_ours() {
        let lines = [
            ("turno-lane", "batch"),
            ("Turno-Lane", "calls"),
            ("turno-explain", "1"),
            ("turno-explain", "true"),
            ("turno-explain", "0"),
            ("turno-explain", "false"),
            ("turno-tenant", "fast"),
            ("turno-foo", "bar"),
            ("x-lane", "fast"),
        ];
        understood(&lines.map(|(key, value)| line(key, value.as_bytes()))).unwrap();
        understood(&[]).unwrap();
    }

    #[test]
    fn what_has_none_is_named_with_what_has() {
        let lane = "batch or calls";
        let explain = "1 or true or 0 or false";
        for (key, value, known) in [
            ("turno-lane", "fast", lane),
            ("turno-lane", "Batch", lane),
            ("turno-lane", "", lane),
            ("turno-explain", "yes", explain),
            ("turno-explain", "2", explain),
        ] {
            let refused = understood(&[line("x-oven", b"7"), line(key, value.as_bytes())]).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            let expected = format!("{key}: {value:?} is not understood: expected {known}");
            assert_eq!(refused.message(), expected);
        }
        let linked = understood(&[line("Turno-Lane", b"\xff")]).unwrap_err();
        assert!(linked.message().starts_with("turno-lane: \"\u{fffd}\" is not"), "{linked}");
        let long = understood(&[line("turno-explain", &[b'y'; 20_000])]).unwrap_err();
        assert!(long.message().len() < 1000, "{long}");
    }

    #[test]
    fn who_asks_for_an_account_has_said_so_in_a_known_way() {
        let asks = super::ANSWERS.iter().filter(|answer| is_yes(answer.as_bytes()));
        assert_eq!(asks.copied().collect::<Vec<_>>(), ["1", "true"]);
    }
}
