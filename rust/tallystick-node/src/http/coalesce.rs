//! Answers to pipelined requests leave together.
//!
//! The HTTP library flushes after every answer. What it writes is kept here for as long as the last read brought input,
//! because more requests may be in it, and leaves as soon as a read finds none: so many small answers cost one system
//! call and one TLS record, and no answer waits for a request that has not arrived. The library always reads again
//! after an answer, unless its last read found nothing.
use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are kept at most: about as many as the kernel takes from one write.
const MAX_KEPT: usize = 64 * 1024;

/// A connection whose output leaves when its input runs dry.
#[derive(Debug)]
pub(super) struct Coalescing<Stream> {
    inner: Stream,
    kept: BytesMut,
    /// The last read found nothing.
    dry: bool,
}

impl<Stream: AsyncWrite + Unpin> Coalescing<Stream> {
    pub(super) fn new(inner: Stream) -> Self {
        Self { inner, kept: BytesMut::new(), dry: true }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> AsyncRead for Coalescing<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match Pin::new(&mut self.inner).poll_read(cx, buffer) {
            Poll::Ready(read) => {
                self.dry = false;
                Poll::Ready(read)
            }
            Poll::Pending => {
                self.dry = true;
                // Should the client not take it now, what wakes this task for writing sends the rest.
                if let Poll::Ready(Err(error)) = self.poll_send(cx) {
                    return Poll::Ready(Err(error));
                }
                Poll::Pending
            }
        }
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Coalescing<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, written: &[u8]) -> Poll<Result<usize>> {
        if self.kept.len() >= MAX_KEPT {
            ready!(self.poll_send(cx))?;
        }
        let taken = written.get(..MAX_KEPT).unwrap_or(written);
        self.kept.extend_from_slice(taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.dry { self.poll_send(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
