//! What a gateway can be told: defaults < TOML < `TURNO_*` < flags.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use turno_runtime::config::Config;
use turno_runtime::telemetry::{TelemetryConfig, TelemetryFlags};
use turno_runtime::units::{Size, Span};

use crate::store_url::StoreUrl;
use crate::token::Token;

/// A gateway's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayConfig {
    /// Where clients call.
    pub listen: SocketAddr,
    /// Where nodes dial in.
    pub nodes: SocketAddr,
    /// Where health and metrics are served over HTTP; nowhere when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
    /// What nodes must show.
    #[serde(skip_serializing_if = "Token::is_unset")]
    pub token: Token,
    /// The largest message, request or response.
    pub max_message: Size,
    /// All requests' bodies together, half of them at most of maps' items, but for a message of each map as long as these are
    /// not all. As much again may be taken by answers that their clients have not read, and by requests of tickets in hand. Of
    /// those answers a connection may have no more than are left: one finds room where twice its size is free, or where nothing
    /// else waits. So below four times `max_message` a client that reads may lose a large answer to another's.
    pub max_bodies: Size,
    /// Calls at once, until their answers are written. A connection that has left as many answers unread as there are
    /// places left is let in no more.
    pub max_calls: usize,
    /// Jobs that wait for a slot.
    pub max_waiting: usize,
    /// The share of the workers' time, and of I/O nodes' polls, that is kept for the batch lane while it has work.
    pub batch_share: f64,
    /// Threads that move calls. Half of the cores when absent: nodes and clients want the others, and one thread moves
    /// tens of thousands of calls a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Connections at once, on each port. A program with `turno::Client` may have four, and a node three, or more with
    /// thousands of streams or nested calls.
    pub max_connections: usize,
    /// A body above this is carried on a stream of its own.
    pub carry_above: Size,
    /// The longest that a call may take, whatever its own deadline says. Of attempts of tickets, and items of maps that are
    /// tickets, only those whose submit and method name no timeout.
    pub longest_call: Span,
    /// How long a call waits for a node when none serves its method any more, or none has joined yet; a submit only for that.
    pub patience: Span,
    /// Where tickets are kept, unless `store` says otherwise: a directory, made if it is not there, of this gateway alone.
    pub data: PathBuf,
    /// A store that several gateways share: `postgres://…`. In place of `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreUrl>,
    /// Attempts of tickets that are under way at once, at nodes or in the queue. Those of one tenant for one method have no
    /// more places than are left: half of them, if nobody else has any.
    pub tickets_in_hand: usize,
    /// How long a gateway that was asked to end may finish what it has.
    pub drain: Span,
    /// Logs and tokio-console.
    pub telemetry: TelemetryConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: loopback(7070),
            nodes: loopback(7071),
            metrics: None,
            token: Token::default(),
            max_message: Size::mib(64),
            max_bodies: Size::gib(1),
            max_calls: 100_000,
            max_waiting: 100_000,
            batch_share: 0.1,
            threads: None,
            max_connections: 10_000,
            carry_above: Size::kib(64),
            longest_call: Span::seconds(3600),
            patience: Span::seconds(5),
            data: PathBuf::from("turno-data"),
            store: None,
            tickets_in_hand: 4096,
            drain: Span::seconds(30),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Config for GatewayConfig {
    fn validate(&self) -> Result<(), String> {
        let open = [self.nodes, self.listen].into_iter().find(|address| !address.ip().is_loopback());
        if let Some(open) = open.filter(|_| !self.token.is_set()) {
            return Err(format!(
                "{open} can be reached from other machines: set a join token (--token, TURNO_TOKEN), so that not \
                 everybody can serve your methods, or listen on 127.0.0.1"
            ));
        }
        let least = Size::mib(4);
        if self.max_message < Size::kib(4) {
            return Err("max_message: at least 4KiB".to_owned());
        }
        if self.max_message > Size::gib(2) {
            return Err("max_message: at most 2GiB".to_owned());
        }
        if self.max_bodies < self.max_message || self.max_bodies < least {
            return Err("max_bodies: at least max_message, and at least 4MiB".to_owned());
        }
        let longest = Span::seconds(30 * 24 * 3600);
        if [self.longest_call, self.patience, self.drain].iter().any(|span| *span > longest) {
            return Err("longest_call, patience, drain: at most 30 days".to_owned());
        }
        if self.patience.0 < Duration::from_millis(100) {
            return Err("patience: at least 100ms".to_owned());
        }
        if self.max_calls == 0 || self.max_waiting == 0 || self.max_connections == 0 {
            return Err("max_calls, max_waiting, max_connections: at least 1".to_owned());
        }
        if !(1..=1_000_000).contains(&self.tickets_in_hand) {
            return Err("tickets_in_hand: from 1 to 1000000".to_owned());
        }
        if self.store.as_ref().is_some_and(|store| !store.is_postgres()) {
            return Err("store: expected postgres://…; a directory is set by data".to_owned());
        }
        if !(0.0..=0.9).contains(&self.batch_share) {
            return Err("batch_share: from 0 to 0.9".to_owned());
        }
        if self.threads.is_some_and(|threads| !(1..=1024).contains(&threads)) {
            return Err("threads: from 1 to 1024".to_owned());
        }
        Ok(())
    }
}

impl GatewayConfig {
    /// Whether a client that reads may lose an answer as large as they come while two such are read by others.
    pub(crate) fn is_tight(&self) -> bool {
        self.max_bodies.as_u64() < self.max_message.as_u64().saturating_mul(4)
    }

    /// Says so, if it is.
    pub(crate) fn warn_of_little_room(&self) {
        if self.is_tight() {
            let (max_bodies, max_message) = (self.max_bodies, self.max_message);
            tracing::warn!(
                %max_bodies,
                %max_message,
                "max_bodies is less than four times max_message: a client may lose a large answer while others read theirs"
            );
        }
    }

    /// Where tickets are kept, as [`turno_store::open`] takes it.
    pub(crate) fn tickets_at(&self) -> String {
        let directory = || self.data.display().to_string();
        self.store.as_ref().map_or_else(directory, |store| store.with_password().to_owned())
    }

    /// The same for people, without its password.
    pub(crate) fn tickets_shown(&self) -> String {
        let directory = || self.data.display().to_string();
        self.store.as_ref().map_or_else(directory, |store| format!("{store:?}"))
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// What to do about a message that is larger than `max_message`.
pub(crate) const TAKE_LARGER: &str = "; start the gateway with a larger --max-message (TURNO_MAX_MESSAGE)";

/// The same, as flags and `TURNO_*`.
#[derive(Args, Clone, Debug, Default, Serialize)]
pub struct GatewayFlags {
    /// Read settings from this TOML file
    #[arg(long, env = "TURNO_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the configuration that results, and end
    #[arg(long)]
    #[serde(skip)]
    pub print_config: bool,
    /// Where clients call [default: 127.0.0.1:7070]
    #[arg(long, env = "TURNO_LISTEN", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Where nodes dial in [default: 127.0.0.1:7071]
    #[arg(long, env = "TURNO_NODES", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<SocketAddr>,
    /// Serve health and metrics over HTTP on this address; nowhere unless told
    #[arg(long, env = "TURNO_METRICS", value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<SocketAddr>,
    /// The join token that nodes must show; needed where other machines reach --listen or --nodes
    #[arg(long, env = "TURNO_TOKEN", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The largest message, request or response [default: 64MiB]
    #[arg(long, env = "TURNO_MAX_MESSAGE", value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_message: Option<Size>,
    /// All requests' bodies together; unread answers, and tickets in hand, may have as much again each, and
    /// results of maps half as much [default: 1GiB]
    #[arg(long, env = "TURNO_MAX_BODIES", value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bodies: Option<Size>,
    /// The most calls at once [default: 100000]
    #[arg(long, env = "TURNO_MAX_CALLS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_calls: Option<usize>,
    /// The most jobs that wait for a slot [default: 100000]
    #[arg(long, env = "TURNO_MAX_WAITING", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_waiting: Option<usize>,
    /// Share of the workers' time, and of I/O nodes' polls, that is kept for the batch lane (turno-lane: batch) [default: 0.1]
    #[arg(long, env = "TURNO_BATCH_SHARE", value_name = "SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_share: Option<f64>,
    /// Threads that move calls [default: half of the cores]
    #[arg(long, env = "TURNO_THREADS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<usize>,
    /// The longest that a call may take, and an attempt of a ticket that nobody gives a timeout [default: 1h]
    #[arg(long, env = "TURNO_LONGEST_CALL", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    longest_call: Option<Span>,
    /// How long a call waits for a node when its method's last one is gone, or none has joined yet [default: 5s]
    #[arg(long, env = "TURNO_PATIENCE", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    patience: Option<Span>,
    /// The directory where tickets are kept; of this gateway alone [default: turno-data]
    #[arg(long, env = "TURNO_DATA", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    /// A store of tickets that several gateways share, in place of --data, e.g. postgres://user:password@host/database
    #[arg(long, env = "TURNO_STORE", value_name = "URL", hide_env_values = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    /// The most attempts of tickets under way at once [default: 4096]
    #[arg(long, env = "TURNO_TICKETS_IN_HAND", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    tickets_in_hand: Option<usize>,
    /// How long to finish what is in flight when asked to end [default: 30s]
    #[arg(long, env = "TURNO_DRAIN", value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Span>,
    #[command(flatten)]
    telemetry: TelemetryFlags,
}

#[cfg(test)]
mod tests {
    use super::{GatewayConfig, GatewayFlags, Size, StoreUrl, Token};
    use clap::{CommandFactory as _, Parser as _};
    use turno_runtime::config::{Config as _, load, print};

    #[derive(clap::Parser)]
    struct Told {
        #[command(flatten)]
        flags: GatewayFlags,
    }

    #[test]
    fn the_defaults_are_those_that_the_help_tells() {
        let mut words = vec!["gateway".to_owned()];
        for flag in Told::command().get_arguments() {
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            let default = help.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
            let default =
                default.map(|(default, _)| default).filter(|default| *default != "half of the cores");
            if let (Some(default), Some(name)) = (default, flag.get_long()) {
                words.push(format!("--{name}={default}"));
            }
        }
        assert!(words.len() > 12, "{words:?}");
        let told = Told::try_parse_from(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let config: GatewayConfig = load(None, &told.flags).unwrap();
        assert_eq!(config, GatewayConfig::default(), "{words:?}");
    }

    #[test]
    fn room_for_four_of_the_largest_answers_is_enough() {
        assert!(!GatewayConfig::default().is_tight());
        let config = |mib| GatewayConfig { max_bodies: Size::mib(mib), ..GatewayConfig::default() };
        assert_eq!([255, 256].map(|mib| config(mib).is_tight()), [true, false]);
        config(64).validate().unwrap();
    }

    #[test]
    fn the_nodes_port_is_open_to_others_only_with_a_token() {
        let mut config = GatewayConfig { nodes: "0.0.0.0:7071".parse().unwrap(), ..GatewayConfig::default() };
        assert!(config.validate().unwrap_err().contains("set a join token"));
        config.token = Token::try_from("open-sesame".to_owned()).unwrap();
        config.validate().unwrap();
        assert!(!print(&config).unwrap().contains("sesame"));
    }

    fn with(store: &str) -> GatewayConfig {
        let store = StoreUrl::try_from(store.to_owned()).unwrap();
        GatewayConfig { store: Some(store), ..GatewayConfig::default() }
    }

    #[test]
    fn a_stores_password_is_used_and_not_shown() {
        let config = with("postgres://rosa:open-sesame@db/turno");
        let error = turno_store::Error::Full;
        let lease = crate::Error::Lease { place: config.tickets_shown(), error };
        for shown in [print(&config).unwrap(), format!("{config:?}"), lease.to_string()] {
            assert!(!shown.contains("sesame"), "{shown}");
            assert!(shown.contains("postgres://rosa:<hidden>@db/turno"), "{shown}");
        }
        assert_eq!(config.tickets_at(), "postgres://rosa:open-sesame@db/turno");
    }

    #[test]
    fn a_store_that_is_shared_is_a_postgres() {
        with("postgres://db/turno").validate().unwrap();
        assert!(with("./data").validate().unwrap_err().contains("a directory is set by data"));
        assert_eq!(GatewayConfig::default().tickets_at(), "turno-data");
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let printed = print(&GatewayConfig::default()).unwrap();
        let file = std::env::temp_dir().join(format!("turno-gateway-{}.toml", std::process::id()));
        std::fs::write(&file, printed).unwrap();
        let again: GatewayConfig =
            turno_runtime::config::load(Some(&file), &super::GatewayFlags::default()).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(again, GatewayConfig::default());
    }
}
