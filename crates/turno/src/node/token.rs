//! The join token: what a node shows to be let in.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use turno_proto::headers;

/// A secret that is neither printed nor logged.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Token(Option<MetadataValue<Ascii>>);

/// What is printed in its place.
const HIDDEN: &str = "<hidden>";

impl TryFrom<String> for Token {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == HIDDEN {
            return Err("token: write the token itself in place of <hidden>".to_owned());
        }
        let line = format!("Bearer {text}");
        let value =
            line.parse().map_err(|_| "token: only visible ASCII can be sent in a header".to_owned())?;
        Ok(Self(Some(value)))
    }
}

impl Token {
    /// Whether there is none.
    pub(crate) fn is_unset(&self) -> bool {
        self.0.is_none()
    }

    /// Shows the token to whom a request goes.
    pub(crate) fn write(&self, metadata: &mut MetadataMap) {
        if let Some(value) = &self.0 {
            metadata.insert(headers::AUTHORIZATION, value.clone());
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { HIDDEN } else { "<none>" })
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}
