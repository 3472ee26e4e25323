//! `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Timeout").

use std::time::Duration;

/// The value does not follow the protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads "100m" as 100 ms.
pub fn parse(value: &[u8]) -> Result<Duration, Malformed> {
    let (&unit, digits) = value.split_last().ok_or(Malformed)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let count = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Duration::from_secs(count * 3600)),
        b'M' => Ok(Duration::from_secs(count * 60)),
        b'S' => Ok(Duration::from_secs(count)),
        b'm' => Ok(Duration::from_millis(count)),
        b'u' => Ok(Duration::from_micros(count)),
        b'n' => Ok(Duration::from_nanos(count)),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::{Malformed, parse};
    use std::time::Duration;

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parse(b"2H"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse(b"3M"), Ok(Duration::from_secs(180)));
        assert_eq!(parse(b"4S"), Ok(Duration::from_secs(4)));
        assert_eq!(parse(b"99999999m"), Ok(Duration::from_millis(99_999_999)));
        assert_eq!(parse(b"6u"), Ok(Duration::from_micros(6)));
        assert_eq!(parse(b"7n"), Ok(Duration::from_nanos(7)));
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_refused() {
        for bad in ["", "S", "1", "123456789S", "1s", "-1S", "1.5S"] {
            assert_eq!(parse(bad.as_bytes()), Err(Malformed), "{bad}");
        }
    }
}
