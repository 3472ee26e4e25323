//! What is wanted of a ticket, be it of a call or of a map.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use clap::Args;
use clap::builder::RangedI64ValueParser;
use turno_proto::v1::{SubmitMapHeader, SubmitRequest};

use crate::tickets::time;

/// Each may be left out.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[group(skip)]
pub(crate) struct Wishes {
    /// The same key is the same ticket, so that it is safe to repeat: what it was first given stands. With another method or
    /// request it is refused
    #[arg(long, value_parser = some_key)]
    pub(crate) key: Option<String>,
    /// How long the key is remembered from now on, such as 30days [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, requires = "key")]
    key_kept_for: Option<Duration>,
    /// No attempt begins before: 10m (from now), or 2026-11-01T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time::future)]
    not_before: Option<SystemTime>,
    /// A label to find it by, its name of a-z, 0-9, _, . and -; may be repeated, each name once
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = time::pair)]
    labels: Vec<(String, String)>,
    /// Attempts after the first, at most 1000; those of a map are of all of it: items that fail are not tried again [default:
    /// what the .proto says, or 2]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = retries())]
    retries: Option<u32>,
    /// How long it is kept once it has ended, at most 366days [default: 7days]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    keep_result_for: Option<Duration>,
}

impl Wishes {
    /// # Errors
    /// A label has two values, of which one would be lost.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let mut names = BTreeSet::new();
        match self.labels.iter().find(|(name, _)| !names.insert(name)) {
            Some((name, _)) => bail!("--label {name} is given twice: a label has one value"),
            None => Ok(()),
        }
    }

    /// What to do when nobody has heard whether it was submitted.
    pub(crate) fn again(&self) -> &'static str {
        match self.key {
            Some(_) => {
                "it may be submitted already: the same command again, with the same key, makes no second ticket"
            }
            None => {
                "it may be submitted already: see `turno tickets list`; with --key a submit can be repeated safely"
            }
        }
    }
}

impl From<Wishes> for SubmitRequest {
    fn from(wishes: Wishes) -> Self {
        Self {
            idempotency_key: wishes.key.unwrap_or_default(),
            idempotency_key_kept_for: wishes.key_kept_for.map(span),
            not_before: wishes.not_before.map(Into::into),
            labels: wishes.labels.into_iter().collect(),
            retries: wishes.retries,
            keep_result_for: wishes.keep_result_for.map(span),
            ..Self::default()
        }
    }
}

impl From<Wishes> for SubmitMapHeader {
    fn from(wishes: Wishes) -> Self {
        let order = SubmitRequest::from(wishes);
        Self {
            map: None,
            idempotency_key: order.idempotency_key,
            idempotency_key_kept_for: order.idempotency_key_kept_for,
            not_before: order.not_before,
            labels: order.labels,
            retries: order.retries,
            keep_result_for: order.keep_result_for,
        }
    }
}

/// So many a gateway takes.
pub(crate) fn retries() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(..=1000)
}

/// On the wire an empty key is none: a variable that a script has not set would make a ticket each time.
fn some_key(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("an empty key is none: write one, or leave --key out".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn span(time: Duration) -> prost_types::Duration {
    // Longer than the wire can say is as long as it can say.
    time.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}
