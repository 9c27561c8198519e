//! Quick ACKs: a TCP stream whose kernel never delays an acknowledgement.
//!
//! A server without TCP_NODELAY holds the second small segment of a response until the first is acknowledged; a client
//! that delays its ACK adds 40 ms. Some clients do, some do not: no win of ours may come from that. The kernel
//! forgets TCP_QUICKACK by itself, so it is set again after every transfer.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A stream that sends at once and acknowledges at once.
pub struct QuickAck(TcpStream);

impl QuickAck {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = Self(stream);
        stream.again()?;
        Ok(stream)
    }

    fn again(&self) -> io::Result<()> {
        match rustix::net::sockopt::set_tcp_quickack(&self.0, true) {
            // The peer has closed; the next transfer will say so in better words.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTCONN) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    fn after<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(Ok(done)) => Poll::Ready(self.again().map(|()| done)),
            other => other,
        }
    }
}

impl AsyncRead for QuickAck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.0).poll_read(context, buffer);
        self.after(outcome)
    }
}

impl AsyncWrite for QuickAck {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.0).poll_write(context, bytes);
        self.after(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.0).poll_write_vectored(context, slices);
        self.after(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
