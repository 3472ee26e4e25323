//! The filter of a listing, in the words of `google.longrunning.Operations/ListOperations`. Pure.

use std::time::SystemTime;

use clap::{Args, ValueEnum};

/// Which tickets are meant; all of what is said must hold.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Those in this state alone
    #[arg(long)]
    pub(crate) state: Option<State>,
    /// Those of this method; package.Service/ stands for all of a service
    #[arg(long)]
    pub(crate) method: Option<String>,
    /// Those with this label; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = super::time::pair)]
    pub(crate) labels: Vec<(String, String)>,
    /// Those of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Those submitted since then: 1h (ago), or 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = super::time::past)]
    pub(crate) since: Option<SystemTime>,
}

/// The states of tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
    Dead,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }
}

impl Filter {
    /// `state = "dead" AND method = "gallery.v1.Gallery/Thumbnail"`; empty for all.
    pub(crate) fn text(&self) -> String {
        let equal = |field: &str, value: &str| format!("{field} = {}", quoted(value));
        let mut parts = Vec::new();
        parts.extend(self.state.map(|state| equal("state", state.word())));
        parts.extend(self.method.as_deref().map(|method| equal("method", method.trim_start_matches('/'))));
        parts.extend(self.labels.iter().map(|(name, value)| equal(&format!("labels.{name}"), value)));
        parts.extend(self.tenant.as_deref().map(|tenant| equal("tenant", tenant)));
        parts.extend(self.since.map(|since| {
            format!("submitted_at >= {}", quoted(&humantime::format_rfc3339_millis(since).to_string()))
        }));
        parts.join(" AND ")
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::{Filter, State};
    use std::time::{Duration, SystemTime};

    #[test]
    fn what_is_said_is_joined() {
        assert_eq!(Filter::default().text(), "");
        let filter = Filter {
            state: Some(State::Dead),
            method: Some("/a.v1.A/Do".into()),
            labels: vec![("shop".into(), "the \"one\"\\".into()), ("order".into(), "17".into())],
            tenant: Some("bakery".into()),
            since: Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1500)),
        };
        assert_eq!(
            filter.text(),
            r#"state = "dead" AND method = "a.v1.A/Do" AND labels.shop = "the \"one\"\\" AND labels.order = "17" AND tenant = "bakery" AND submitted_at >= "1970-01-01T00:00:01.500Z""#
        );
    }
}
