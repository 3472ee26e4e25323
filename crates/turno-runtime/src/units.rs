//! Durations and sizes as people write them, in flags and files alike: "30s", "64MiB"; and durations as they are told.

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

/// A length of time as a message tells it, to three digits: "90.4 ms", "1.25 s". Nobody counts the seconds of one that is
/// long: "1h 30m".
#[derive(Clone, Copy, Debug)]
pub struct Rounded(pub Duration);

/// From here on in minutes.
const LONG: Duration = Duration::from_secs(1000);
/// In nanoseconds.
const UNITS: [(u128, &str); 4] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1000, "µs"), (1, "ns")];

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 >= LONG {
            let minutes = self.0.as_secs().saturating_add(30) / 60;
            return write!(f, "{}", humantime::format_duration(Duration::from_secs(60 * minutes)));
        }
        let ns = three_digits(self.0.as_nanos());
        let (unit, name) = UNITS.into_iter().find(|(unit, _)| ns >= *unit).unwrap_or((1, "s"));
        write!(f, "{} {name}", ns as f64 / unit as f64)
    }
}

/// The nearest number that has no more of them.
fn three_digits(number: u128) -> u128 {
    let mut unit = 1;
    while number / unit >= 1000 {
        unit *= 10;
    }
    (number + unit / 2) / unit * unit
}

#[cfg(test)]
mod tests {
    use super::{Rounded, Size, Span};
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

    #[test]
    fn what_is_told_has_three_digits() {
        let told = |time| Rounded(time).to_string();
        let (ns, ms) = (Duration::from_nanos, Duration::from_millis);
        let seconds = Duration::from_secs;
        let brief = [ns(90_369_637), ns(0), ns(7), ns(1_500), ns(999_600), ms(250), ns(999_500_000)];
        assert_eq!(brief.map(told), ["90.4 ms", "0 s", "7 ns", "1.5 µs", "1 ms", "250 ms", "1 s"]);
        let long =
            [ms(1250), seconds(5), seconds(30), ms(90_060), seconds(600), seconds(3600), seconds(5430)];
        assert_eq!(long.map(told), ["1.25 s", "5 s", "30 s", "90.1 s", "600 s", "1h", "1h 31m"]);
        assert!(told(Duration::MAX).contains("years"));
    }
}
