//! Connections that can be aborted or cut.
//!
//! The HTTP library knows no way to answer with nothing, or with half of what it announced. So the listener wraps
//! every connection, and a handler can decide its [`Fate`] through the [`Line`] before it returns its answer: the
//! bytes that the fate does not let pass end in an error, on which the library drops the connection.
//!
//! The fate counts bytes of HTTP/1, which is what clients speak without TLS.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::shared::lock;

/// A handler's hold on the connection that its request came by.
#[derive(Clone, Debug, Default)]
pub(super) struct Line(Arc<Mutex<Fate>>);

impl Line {
    /// Not one more byte; the client sees a reset.
    pub(super) fn abort(&self) {
        *lock(&self.0) = Fate::Aborted;
    }

    /// Whether [`Line::abort`] was called.
    pub(super) fn is_aborted(&self) -> bool {
        *lock(&self.0) == Fate::Aborted
    }

    /// The head of the next answer whole, of its body of this length only half; without a body, nothing.
    pub(super) fn cut(&self, length: usize) {
        let fate = if length == 0 { Fate::Aborted } else { Fate::Cut { head: 0, body: length / 2 } };
        *lock(&self.0) = fate;
    }
}

/// What a connection still lets through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Open,
    Aborted,
    /// `head` of the four bytes that end a head have just passed; `body` bytes may follow them.
    Cut {
        head: usize,
        body: usize,
    },
}

impl Fate {
    /// Whether this byte passes.
    fn step(&mut self, byte: u8) -> bool {
        const END: &[u8; 4] = b"\r\n\r\n";
        match self {
            Self::Open => true,
            Self::Aborted | Self::Cut { head: 4, body: 0 } => false,
            Self::Cut { head, .. } if *head < END.len() => {
                *head = if byte == END[*head] { *head + 1 } else { usize::from(byte == END[0]) };
                true
            }
            Self::Cut { body, .. } => {
                *body -= 1;
                true
            }
        }
    }

    /// How many of these bytes pass.
    fn passing(mut self, bytes: &[u8]) -> usize {
        if self == Self::Open {
            return bytes.len();
        }
        bytes.iter().take_while(|byte| self.step(**byte)).count()
    }

    /// Notes that these bytes have passed.
    fn advance(&mut self, bytes: &[u8]) {
        if *self != Self::Open {
            for byte in bytes {
                self.step(*byte);
            }
        }
    }
}

/// Accepts connections and wraps them.
#[derive(Debug)]
pub(super) struct Wires(pub(super) TcpListener);

impl Listener for Wires {
    type Io = Wire;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Wire, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Without it answers wait for acknowledgements; where it fails the sandbox is only slower.
        let _ = stream.set_nodelay(true);
        (Wire { stream, line: Line::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, Wires>> for Line {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.io().line.clone()
    }
}

/// One wrapped connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    line: Line,
}

impl Wire {
    fn broken(&self) -> Poll<io::Result<usize>> {
        if *lock(&self.line.0) == Fate::Aborted {
            // So that dropping the connection resets it.
            let _ = self.stream.set_zero_linger();
        }
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let passing = lock(&self.line.0).passing(bytes);
        if passing == 0 && !bytes.is_empty() {
            return self.broken();
        }
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..passing]))?;
        lock(&self.line.0).advance(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if *lock(&self.line.0) == Fate::Aborted {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_lets_the_head_and_part_of_the_body_through() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 6\r\n\r\nabcdef";
        let fate = Fate::Cut { head: 0, body: 3 };
        assert_eq!(fate.passing(answer), answer.len() - 3);
        let mut split = fate;
        split.advance(&answer[..answer.len() - 9]);
        assert_eq!(split.passing(&answer[answer.len() - 9..]), 6);
        assert_eq!(Fate::Aborted.passing(answer), 0);
        assert_eq!(Fate::Open.passing(answer), answer.len());
    }
}
