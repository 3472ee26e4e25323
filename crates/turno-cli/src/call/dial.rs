//! The line to a gateway, for every command that talks to one.

mod first_word;
mod prompt;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use anyhow::{anyhow, bail};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use turno_runtime::units::Rounded;

use self::first_word::Connector;
pub(crate) use self::prompt::Prompt;

/// With a connection that is not made, and then with one on which nothing is said.
const PATIENCE: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(10);
/// As long as a gateway's with its clients. A ping comes behind what is being sent, and while that is all that goes on nothing
/// else is heard.
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// As large as a gateway's.
const STREAM_WINDOW: u32 = 1 << 20;
/// As large as HTTP/2 has it: streams limit themselves. h2 ends a connection with messages of less than 256 bytes that nobody
/// has read, once what they lack of that is more than half of this: a `turno map` whose reader pauses leaves thousands of them.
const CONNECTION_WINDOW: u32 = i32::MAX as u32;
// A line of 1 Mbit/s is no silence, though 1 MiB is on it: all that either end lets a stream send before it has read it.
const _: () = assert!(8 << 20 <= PING_PATIENCE.as_secs() * 1_000_000);
/// A gateway that says nothing for so long, not even that it is there, is not: what waits for it fails.
pub(crate) const SILENCE: Duration = PING_EVERY.saturating_add(PING_PATIENCE);
/// A gateway that is there has begun to answer what it is asked by then, whatever becomes of its store: of one that hangs it
/// hears within 21 s.
const ANSWER: Duration = Duration::from_secs(30);

/// Connects to the gateway at `address` ("http://127.0.0.1:7070"; the scheme may be left out). It is pinged, even if nothing
/// is waited for: to hyper a stream that is read when the last channel has been dropped is nothing.
pub(crate) async fn dial(address: &str) -> anyhow::Result<Channel> {
    let endpoint = endpoint(address)?.http2_keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_PATIENCE);
    connect(endpoint.keep_alive_while_idle(true), address, PATIENCE).await
}

/// The same to a server of whatever kind, without pings: gRPC's own servers end who sends more than one in five minutes.
pub(crate) async fn dial_any(address: &str) -> anyhow::Result<Channel> {
    connect(endpoint(address)?, address, PATIENCE).await
}

/// Answers once the other end has said something, for which it has so long: of one that is stopped, or speaks another protocol,
/// the kernel takes connections all the same.
async fn connect(endpoint: Endpoint, address: &str, patience: Duration) -> anyhow::Result<Channel> {
    let nobody = |why: &str| {
        Away(format!(
            "no gateway answers at {address} ({why}); start one with `turno up`, or name another by --address"
        ))
    };
    let endpoint = endpoint
        .connect_timeout(PATIENCE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let (connector, first_word) = Connector::new(PATIENCE);
    let channel = endpoint.connect_with_connector(connector).await;
    let channel = channel.map_err(|error| nobody(&innermost(&error)))?;
    match tokio::time::timeout(patience, first_word).await {
        // Whoever asks hears of one that has hung up.
        Ok(_) => Ok(channel),
        Err(_) => Err(nobody("it takes connections, and says nothing").into()),
    }
}

/// Nobody has answered, and somebody may in a moment.
#[derive(Debug)]
pub(crate) struct Away(pub(crate) String);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Away {}

fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    if !url.starts_with("http://") {
        bail!("{address}: only http:// addresses can be called");
    }
    Endpoint::from_shared(url)
        .map_err(|_| anyhow!("{address:?} is no address; write it as http://127.0.0.1:7070"))
}

/// The answer to a question, which is small; a large one comes by a [`Prompt`] line. Pings may be answered where no question is,
/// as by a balancer before a gateway that is stopped.
pub(crate) async fn answer<T>(asked: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    answer_behind(0, asked).await
}

/// The same, where so many bytes have to get there before, on a line of 1 Mbit/s.
pub(crate) async fn answer_behind<T>(
    bytes: usize,
    asked: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    answer_within(ANSWER + Duration::from_micros(8 * bytes as u64), asked).await
}

async fn answer_within<T>(
    patience: Duration,
    asked: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = |_| Err(given_up(format!("no answer within {}", Rounded(patience))));
    tokio::time::timeout(patience, asked).await.unwrap_or_else(late)
}

/// Of a time that is over at this end: unlike what a server says, it has a cause.
pub(super) fn given_up(words: String) -> Status {
    let mut status = Status::deadline_exceeded(words.clone());
    let cause: Box<dyn Error + Send + Sync> = words.into();
    status.set_source(cause.into());
    status
}

/// What a status says, or what it comes from, if it is of this end's making.
pub(crate) fn why(status: &Status) -> String {
    match status.source() {
        Some(cause) => innermost(cause),
        None => status.message().to_owned(),
    }
}

/// The first cause of all.
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::{answer_within, connect, dial, endpoint, why};
    use std::time::Duration;
    use tonic::Code;

    #[test]
    fn the_scheme_may_be_left_out() {
        assert_eq!(endpoint("localhost:7070").unwrap().uri().to_string(), "http://localhost:7070/");
        assert_eq!(endpoint("http://[::1]:1").unwrap().uri().to_string(), "http://[::1]:1/");
        assert!(endpoint("https://a.example").unwrap_err().to_string().contains("only http://"));
        assert!(endpoint("no address").unwrap_err().to_string().contains("is no address"));
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_what_to_do() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = dial(&format!("http://127.0.0.1:{port}")).await.unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("no gateway answers at http://127.0.0.1:{port} (Connection refused"))
        );
        assert!(error.ends_with("start one with `turno up`, or name another by --address"), "{error}");
    }

    #[tokio::test]
    async fn who_takes_connections_and_says_nothing_is_nobody() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let connecting = connect(endpoint(&address).unwrap(), &address, Duration::from_millis(50));
        let error = connecting.await.unwrap_err().to_string();
        let said = format!("no gateway answers at {address} (it takes connections, and says nothing); start");
        assert!(error.starts_with(&said), "{error}");
    }

    #[tokio::test]
    async fn a_question_that_nobody_answers_has_an_end() {
        let late = answer_within::<()>(Duration::from_millis(1), std::future::pending()).await.unwrap_err();
        assert_eq!((late.code(), late.message()), (Code::DeadlineExceeded, "no answer within 1 ms"));
        // It is known here alone, and in the same words.
        assert!(std::error::Error::source(&late).is_some());
        assert_eq!(why(&late), late.message());
    }
}
