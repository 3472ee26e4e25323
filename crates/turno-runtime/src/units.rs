//! Durations and sizes as people write them, in flags and files alike: "30s", "64MiB".

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use bytesize::ByteSize as Size;

/// Whole microseconds, as messages have them; what is above their range becomes its end.
pub fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A length of time, written "250ms", "30s", "1h 30m".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// `seconds` seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Size, Span};
    use serde::{Deserialize, Serialize};
    use std::time::Duration;

    #[derive(Serialize, Deserialize)]
    struct Limits {
        patience: Span,
        body: Size,
    }

    #[test]
    fn what_people_write_is_what_is_printed() {
        let limits: Limits = toml::from_str("patience = \"1m 30s\"\nbody = \"64MiB\"").unwrap();
        assert_eq!(limits.patience.0, Duration::from_secs(90));
        assert_eq!(limits.body.as_u64(), 64 << 20);
        let printed = toml::to_string(&limits).unwrap();
        assert!(printed.contains("\"1m 30s\"") && printed.contains("64.0 MiB"), "{printed}");
        let again: Limits = toml::from_str(&printed).unwrap();
        assert_eq!(again.body.as_u64(), 64 << 20);
    }
}
