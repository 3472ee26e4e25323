//! Connections of one kind to one gateway, beside the link: another one when those that are there have as much on them as they
//! may. What a gateway does not take on a connection waits in HTTP/2, unseen, and with it whatever comes behind it; and where
//! methods wait for calls that these wait for, none of them ends. How many calls there may be in all, the gateway says.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::transport::Endpoint;

use crate::calls::Held;
use crate::client::beside::Beside;

/// As many connections as it takes, each opened when it is first used, and kept as long as the link.
#[derive(Debug)]
pub(crate) struct Lines {
    first: Beside,
    more: Mutex<Vec<Beside>>,
    /// Calls on each of them.
    most: usize,
}

impl Lines {
    /// To be called in the runtime that they are to live in.
    pub(crate) fn new(endpoint: Endpoint, most: usize) -> Arc<Self> {
        Arc::new(Self { first: Beside::new(endpoint), more: Mutex::default(), most })
    }

    /// For one call: it counts until its answer has ended or is dropped.
    pub(crate) fn carry(&self) -> Held {
        // Several that look at the same time may find the same last place: the gateway takes some more than these.
        if self.first.under_way() < self.most {
            return self.first.carry(());
        }
        let mut more = self.more.lock();
        let free = more.iter().position(|line| line.under_way() < self.most);
        let at = free.unwrap_or_else(|| {
            more.push(self.first.another());
            more.len() - 1
        });
        more[at].carry(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Arc, Endpoint, Lines};
    use crate::calls::Mesh;
    use crate::cpu::v1::{InfoRequest, images};
    use crate::node::carry::Carrier;
    use crate::node::link::endpoint;
    use crate::node::token::Token;
    use bytes::Bytes;
    use futures_util::future::join_all;
    use std::future::Future;
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Barrier;
    use tonic::{Code, Request};
    use turno_runtime::task;

    /// On one connection.
    const MOST: usize = 8;
    /// Calls that wait for one another.
    const ALL: usize = 2 * MOST + 4;
    /// For what would wait for ever.
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn who_finds_a_connection_full_gets_another_one() {
        let lines = Lines::new(Endpoint::from_static("http://127.0.0.1:1"), MOST);
        let on = || {
            let more = lines.more.lock().iter().map(|line| line.under_way()).collect::<Vec<_>>();
            (lines.first.under_way(), more)
        };
        let mut calls: Vec<_> = (0..MOST).map(|_| lines.carry()).collect();
        assert_eq!(on(), (MOST, vec![]));
        calls.extend((0..MOST + 2).map(|_| lines.carry()));
        assert_eq!(on(), (MOST, vec![MOST, 2]));
        // Those that have ended leave room on the connection that they were on.
        calls.truncate(2 * MOST - 3);
        calls.extend((0..3).map(|_| lines.carry()));
        assert_eq!(on(), (MOST, vec![MOST, 0]));
        drop(calls.drain(..5));
        calls.extend((0..4).map(|_| lines.carry()));
        assert_eq!(on(), (MOST - 1, vec![MOST, 0]));
    }

    /// To a gateway that takes as many on one connection, and answers none before it has all.
    async fn lines() -> Arc<Lines> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(task::spawn("double", async move {
            let all = Arc::new(Barrier::new(ALL));
            while let Ok((socket, _)) = listener.accept().await {
                drop(task::spawn("double", converse(socket, all.clone())));
            }
        }));
        Lines::new(endpoint(&address).unwrap(), MOST)
    }

    async fn converse(socket: TcpStream, all: Arc<Barrier>) {
        let mut server = h2::server::Builder::new();
        server.max_concurrent_streams(MOST.try_into().unwrap());
        let Ok(mut connection) = server.handshake::<_, Bytes>(socket).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let all = all.clone();
            drop(task::spawn("double", async move {
                all.wait().await;
                let answer = http::Response::builder().header("content-type", "application/grpc");
                let aborted = answer.header("grpc-status", "10").body(()).unwrap();
                respond.send_response(aborted, true).unwrap();
                drop(request);
            }));
        }
    }

    async fn all_are_answered<T>(calls: impl Iterator<Item = impl Future<Output = crate::Result<T>>>) {
        let answers = tokio::time::timeout(LONG, join_all(calls)).await.expect("none of them waits here");
        for answer in answers {
            let Err(error) = answer else { panic!("that is not what it says") };
            assert_eq!(error.code(), Code::Aborted, "{error}");
        }
    }

    #[tokio::test]
    async fn nested_calls_that_wait_for_one_another_all_reach_the_gateway() {
        let mesh = Mesh::by(lines().await, Token::default());
        let call = |_| mesh.unary::<images::Info>(Request::new(InfoRequest::default()));
        all_are_answered((0..ALL).map(call)).await;
    }

    #[tokio::test]
    async fn so_do_carries() {
        let carrier = Carrier { lines: lines().await, token: Token::default(), link_id: String::new() };
        all_are_answered((0..ALL as u64).map(|call| carrier.open(call, 0))).await;
    }
}
