//! The join token at the gateway: compared in constant time, neither printed nor logged.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use subtle::ConstantTimeEq as _;

/// What nodes have to show on their port; nothing when empty.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Token(String);

/// What is printed in a secret's place.
pub(crate) const HIDDEN: &str = "<hidden>";

impl Token {
    /// Whether nodes must show one at all.
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }

    /// The opposite, for serde.
    pub(crate) fn is_unset(&self) -> bool {
        !self.is_set()
    }

    /// Whether an `authorization` header lets its sender in.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        if !self.is_set() {
            return true;
        }
        let shown = authorization.and_then(|line| line.strip_prefix(b"Bearer ")).unwrap_or_default();
        shown.ct_eq(self.0.as_bytes()).into()
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(token: String) -> Result<Self, Self::Error> {
        if token == HIDDEN {
            Err("token: write the token itself in place of <hidden>")
        } else {
            Ok(Self(token))
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { HIDDEN } else { "<none>" })
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn only_the_token_itself_is_let_in() {
        let token = Token::try_from("open-sesame".to_owned()).unwrap();
        assert!(token.admits(Some(b"Bearer open-sesame")));
        for wrong in
            [None, Some(&b"open-sesame"[..]), Some(b"Bearer open-sesam"), Some(b"Bearer "), Some(b"")]
        {
            assert!(!token.admits(wrong), "{wrong:?}");
        }
        assert!(Token::default().admits(None));
    }
}
