//! Names of tickets as a person writes them: the whole of one, its id alone, or the end of its id where that is enough.
//! The ids of one hour begin alike, so that it is their ends that differ.

use anyhow::{anyhow, bail};

const COLLECTION: &str = "operations/";
const LENGTH: usize = 36;
const SHORT: usize = 8;
/// Fewer characters stand for no ticket.
const FEWEST: usize = 4;

/// What a person has written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// "operations/0198…", all of it.
    Whole(String),
    /// How its id ends.
    End(String),
}

/// Reads what a person has written.
pub(crate) fn read(text: &str) -> anyhow::Result<Written> {
    let id = text.strip_prefix(COLLECTION).unwrap_or(text).to_lowercase();
    if id.len() == LENGTH {
        return Ok(Written::Whole(format!("{COLLECTION}{id}")));
    }
    let is_part = id.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !is_part || id.len() > LENGTH {
        bail!("{text:?} names no ticket; write it as `turno tickets list` shows it, or as operations/ID");
    }
    if id.len() < FEWEST {
        bail!(
            "{text:?} is too short for a ticket's name: write at least the last {FEWEST} characters of its id"
        );
    }
    Ok(Written::End(id))
}

/// The one ticket of `names` whose id ends so. `more`: there are tickets that are not among them.
pub(crate) fn find<'a>(
    end: &str,
    names: impl IntoIterator<Item = &'a str>,
    more: bool,
) -> anyhow::Result<String> {
    let names: Vec<&str> = names.into_iter().collect();
    let found: Vec<&str> = names.iter().filter(|name| name.ends_with(end)).copied().collect();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] if more => {
            Err(anyhow!("no ticket ends in {end} among the newest {}: write the whole name", names.len()))
        }
        [] => Err(anyhow!("no ticket ends in {end}; `turno tickets list` shows those that are kept")),
        several => Err(anyhow!("{end} is the end of several tickets: {}", several.join(", "))),
    }
}

/// The end of a ticket's id, long enough to stand for it.
pub(crate) fn short(name: &str) -> &str {
    let from = name.len().saturating_sub(SHORT);
    name.get(from..).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::{Written, find, read, short};

    const ONE: &str = "operations/0198c3ab-7d12-7c3e-9f4a-1b2c9f3ac2b1";
    const OTHER: &str = "operations/0198c3ab-7d12-7c3e-9f4a-1b2c0000c2b1";

    #[test]
    fn a_whole_name_may_lack_its_first_part() {
        for text in [ONE, &ONE[11..], &ONE.to_uppercase()[11..]] {
            assert_eq!(read(text).unwrap(), Written::Whole(ONE.to_owned()));
        }
        assert_eq!(read("9F3AC2B1").unwrap(), Written::End("9f3ac2b1".to_owned()));
        assert_eq!(read(&format!("operations/{}", short(ONE))).unwrap(), Written::End("9f3ac2b1".to_owned()));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for (text, why) in [
            ("c2b", "too short"),
            ("", "too short"),
            ("gallery", "names no ticket"),
            ("operations/0198c3ab-7d12-7c3e-9f4a-1b2c9f3ac2b1-0", "names no ticket"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_end_of_an_id_stands_for_one_ticket_alone() {
        assert_eq!(find("9f3ac2b1", [ONE, OTHER], true).unwrap(), ONE);
        let error = find("c2b1", [ONE, OTHER], false).unwrap_err().to_string();
        assert!(error.contains(ONE) && error.contains(OTHER), "{error}");
        assert!(
            find("ffff", [ONE], true)
                .unwrap_err()
                .to_string()
                .contains("among the newest 1: write the whole")
        );
        assert!(find("ffff", [ONE], false).unwrap_err().to_string().contains("turno tickets list"));
    }
}
