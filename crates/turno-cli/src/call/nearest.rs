//! "Did you mean": the known name nearest to one that was mistyped. Pure; used wherever a name is refused.

/// "; did you mean X?", or nothing when no known name is near.
pub(crate) fn hint<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wanted, known).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .filter_map(|name| Some((distance(wanted, name)?, name)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edits between the names, if they are near; a package that was left out or mistyped altogether counts as one, where
/// what follows it is near by itself.
fn distance(wanted: &str, known: &str) -> Option<usize> {
    let last = |name: &str| name.rsplit(['.', '/']).next().unwrap_or_default().to_lowercase();
    let whole = edits_within(1, &wanted.to_lowercase(), &known.to_lowercase());
    let apart = edits_within(0, &last(wanted), &last(known)).map(|edits| edits + 1);
    whole.into_iter().chain(apart).min()
}

/// As many as a third of the shorter name has letters, and so many `more`.
fn edits_within(more: usize, a: &str, b: &str) -> Option<usize> {
    Some(edits(a, b)).filter(|edits| *edits <= a.len().min(b.len()) / 3 + more)
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

    #[test]
    fn a_long_package_does_not_make_another_service_near() {
        assert_eq!(hint("kitchen.v1.Kitchen", ["turno.v1.Tickets"]), "");
        assert_eq!(hint("kitchen.v1.Tikets", ["turno.v1.Tickets"]), "; did you mean turno.v1.Tickets?");
    }
}
