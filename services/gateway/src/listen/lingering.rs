//! The end of a connection, which its client gets to read.
//!
//! A socket that is closed while bytes of its client are unread, or on their way, is reset: what its kernel has not sent yet
//! is dropped. A client that writes before it reads then fails, and never reads what it has got: its last answers, and the
//! GOAWAY that says which calls were not looked at (h2's `Connection::poll` is such a client: an error of its `poll_complete`
//! ends all streams). So the socket is kept until the client has ended its side too.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// A client has so long to read what there is and to end its side: more than a busy machine keeps it from that.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A socket whose shutdown is over when its client has ended its side too, or after `PATIENCE`. What comes meanwhile is
/// dropped.
pub(super) struct Lingering {
    stream: TcpStream,
    /// How long it is still waited for; there once our own side has ended.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, patience: None }
    }
}

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, patience } = self.get_mut();
        let mut stream = Pin::new(stream);
        if patience.is_none() {
            ready!(stream.as_mut().poll_shutdown(cx))?;
        }
        let patience = patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
        // Before the reading: who never stops sending is not waited for either.
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut dropped = [0; 4096];
        loop {
            let mut dropped = ReadBuf::new(&mut dropped);
            let read = ready!(stream.as_mut().poll_read(cx, &mut dropped));
            // One that is reset has nobody to wait for.
            if read.is_err() || dropped.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::sleep;

    use super::Lingering;

    async fn client_and_server() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// Writes as much as the kernel takes: most of it is not sent before the client reads. Answers how much.
    async fn fill(stream: &TcpStream) -> usize {
        stream.writable().await.unwrap();
        let mut written = 0;
        loop {
            match stream.try_write(&[7; 1 << 16]) {
                Ok(bytes) => written += bytes,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return written;
                }
            }
        }
    }

    #[tokio::test]
    async fn who_says_something_while_it_reads_reads_to_the_end() {
        let (mut client, server) = client_and_server().await;
        let written = fill(&server).await;
        let ended = async move { Lingering::new(server).shutdown().await };
        let read = async move {
            let (mut read, mut piece) = (0, vec![0; 1 << 16]);
            loop {
                client.write_all(b"more").await.unwrap();
                match client.read(&mut piece).await.unwrap() {
                    0 => return read,
                    bytes => read += bytes,
                }
            }
        };
        let (ended, read) = tokio::join!(ended, read);
        ended.unwrap();
        assert_eq!(read, written);
    }

    #[tokio::test]
    async fn who_does_not_end_its_side_is_not_waited_for_for_ever() {
        let (client, server) = client_and_server().await;
        let patience = Some(Box::pin(sleep(Duration::ZERO)));
        let mut lingering = Lingering { stream: server, patience };
        lingering.shutdown().await.unwrap();
        drop(client);
    }
}
