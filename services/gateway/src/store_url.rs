//! The URL of a store that gateways share: its password is neither printed nor logged.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::token::HIDDEN;

/// `postgres://user:password@host/database`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StoreUrl(String);

impl StoreUrl {
    /// The whole, for who opens the store.
    pub(crate) fn with_password(&self) -> &str {
        &self.0
    }

    /// Whether it is of the one kind that gateways can share.
    pub(crate) fn is_postgres(&self) -> bool {
        ["postgres://", "postgresql://"].iter().any(|scheme| self.0.starts_with(scheme))
    }
}

impl TryFrom<String> for StoreUrl {
    type Error = &'static str;

    fn try_from(url: String) -> Result<Self, Self::Error> {
        if url.contains(HIDDEN) {
            Err("store: write the password itself in place of <hidden>")
        } else {
            Ok(Self(url))
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_password(&self.0))
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

/// All but the password, whether it stands before the host or among the parameters. Where it has signs in it that ought to
/// be encoded, more is hidden rather than less.
pub fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
    let secret = rest.rsplit_once('@').and_then(|(who, place)| Some((who.split_once(':')?.0, place)));
    let rest = secret.map_or_else(|| rest.to_owned(), |(user, place)| format!("{user}:{HIDDEN}@{place}"));
    let Some((place, parameters)) = rest.split_once('?') else { return format!("{scheme}{rest}") };
    let parameters: Vec<_> = parameters.split('&').map(parameter).collect();
    format!("{scheme}{place}?{}", parameters.join("&"))
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) if name.ends_with("password") => format!("{name}={HIDDEN}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{StoreUrl, without_password};

    #[test]
    fn all_but_the_password_is_shown() {
        for (url, expected) in [
            ("postgres://db/turno", "postgres://db/turno"),
            ("postgres://rosa@db:5432/a?sslmode=allow", "postgres://rosa@db:5432/a?sslmode=allow"),
            ("postgres://rosa:sesame@db:5432/turno", "postgres://rosa:<hidden>@db:5432/turno"),
            ("postgres://rosa:se/s@a?me@db/turno", "postgres://rosa:<hidden>@db/turno"),
            ("postgres://db/a?user=rosa&password=sesame", "postgres://db/a?user=rosa&password=<hidden>"),
            ("postgres://db/a?password=ses:a@me&user=rosa", "postgres://db/a?password=<hidden>&user=rosa"),
        ] {
            assert_eq!(without_password(url), expected);
        }
    }

    #[test]
    fn what_was_printed_is_no_password() {
        let printed = "postgres://rosa:<hidden>@db/turno".to_owned();
        assert!(StoreUrl::try_from(printed).unwrap_err().contains("the password itself"));
    }
}
