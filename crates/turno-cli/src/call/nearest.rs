//! "Did you mean": the known name nearest to one that was mistyped. Pure; used wherever a name is refused.

/// "; did you mean X?", or nothing when no known name is near.
pub(crate) fn hint<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wanted, known).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (distance(wanted, name), name))
        .filter(|(distance, name)| *distance <= wanted.len().min(name.len()) / 3 + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits between the names; a package that was left out or mistyped altogether counts as one.
fn distance(wanted: &str, known: &str) -> usize {
    let last = |name: &str| name.rsplit(['.', '/']).next().unwrap_or_default().to_lowercase();
    edits(&wanted.to_lowercase(), &known.to_lowercase()).min(1 + edits(&last(wanted), &last(known)))
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{edits, hint};

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("same", "same"), 0);
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["gallery.v1.Gallery", "turno.v1.Admin", "grpc.health.v1.Health"];
        assert_eq!(hint("gallery.v1.Galery", known), "; did you mean gallery.v1.Gallery?");
        assert_eq!(hint("Health", known), "; did you mean grpc.health.v1.Health?");
        assert_eq!(hint("burgers.v1.Kitchen", known), "");
    }
}
