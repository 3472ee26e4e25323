//! Times and labels as flags have them.

use std::time::{Duration, SystemTime};

/// "10m" from now, or 2026-11-01T08:00:00Z.
pub(crate) fn future(text: &str) -> Result<SystemTime, String> {
    read(text, |now, span| now.checked_add(span))
}

/// "1h" ago, or 2026-11-01T08:00:00Z.
pub(crate) fn past(text: &str) -> Result<SystemTime, String> {
    read(text, |now, span| now.checked_sub(span))
}

fn read(
    text: &str,
    from_now: impl FnOnce(SystemTime, Duration) -> Option<SystemTime>,
) -> Result<SystemTime, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return from_now(SystemTime::now(), span).ok_or_else(|| "that is beyond all clocks".to_owned());
    }
    humantime::parse_rfc3339(text)
        .map_err(|_| "write it as a length of time, such as 10m, or as 2026-11-01T08:00:00Z".to_owned())
}

/// "shop=bakery"
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

/// 2026-11-25T22:41:07Z
pub(crate) fn shown(time: &prost_types::Timestamp) -> String {
    let known = SystemTime::try_from(*time).ok().filter(|time| *time >= SystemTime::UNIX_EPOCH);
    known.map_or_else(|| "?".to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::{future, pair, past, shown};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_time_is_a_length_from_now_or_a_date() {
        let now = SystemTime::now();
        let minute = Duration::from_secs(60);
        assert!(future("1m").unwrap() >= now + minute);
        assert!(past("1m").unwrap() <= SystemTime::now() - minute);
        assert_eq!(future("1970-01-01T00:00:05Z").unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        for text in ["tomorrow", "", "2026-11-01", "10"] {
            assert!(future(text).unwrap_err().contains("such as 10m"), "{text}");
        }
    }

    #[test]
    fn a_label_has_a_name_and_may_have_an_empty_value() {
        assert_eq!(pair("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert_eq!(pair("a=").unwrap(), ("a".into(), String::new()));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }

    #[test]
    fn a_moment_is_shown_to_the_second() {
        let moment = prost_types::Timestamp { seconds: 1_795_646_467, nanos: 999 };
        assert_eq!(shown(&moment), "2026-11-25T22:41:07Z");
        assert_eq!(shown(&prost_types::Timestamp { seconds: -5, nanos: 0 }), "?");
    }
}
