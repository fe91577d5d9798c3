//! What the HTTP library itself answers, in the words of this node.
//!
//! A request that cannot be parsed, or whose headers are too many for the parser, never reaches a handler: the library
//! answers 400 or 431 without a body, and closes. Clients read what is wrong from the body, so it is put there on the
//! way out.
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::odata;

const TOO_LARGE: &[u8] = b"HTTP/1.1 431 ";
const MALFORMED: &[u8] = b"HTTP/1.1 400 ";
const NO_BODY: &[u8] = b"content-length: 0\r\n";
/// Status, `connection`, `content-length`, `date`, and the empty line.
const BARE_LINES: usize = 5;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A connection on whose way out refusals without a body get one.
#[derive(Debug)]
pub(super) struct Refusing<Stream> {
    inner: Stream,
    /// What stands in for what the library wrote, as far as it is not sent yet.
    instead: Bytes,
}

impl<Stream: AsyncWrite + Unpin> Refusing<Stream> {
    pub(super) fn new(inner: Stream) -> Self {
        Self { inner, instead: Bytes::new() }
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        while self.instead.has_remaining() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// What to send where `written` is a whole answer of the library's own: one with no header but those that it adds.
fn instead_of(written: &[u8]) -> Option<Bytes> {
    let bare = written.ends_with(END_OF_HEAD)
        && written.windows(NO_BODY.len()).any(|window| window.eq_ignore_ascii_case(NO_BODY))
        && written.windows(2).filter(|window| window == b"\r\n").count() == BARE_LINES;
    match bare {
        true if written.starts_with(TOO_LARGE) => Some(too_large()),
        true if written.starts_with(MALFORMED) => Some(malformed()),
        _ => None,
    }
}

/// Plain text, as a CCF node answers; it also repeats what it could not parse, which the library does not tell.
fn malformed() -> Bytes {
    let body = "Unable to parse data as a HTTP request.\n";
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into()
}

fn too_large() -> Bytes {
    let answer = odata(
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        "RequestHeaderTooLarge",
        "Headers exceed the limits of this interface",
    );
    let head = format!(
        "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        answer.body.len()
    );
    [head.as_bytes(), &answer.body].concat().into()
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Refusing<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Refusing<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, written: &[u8]) -> Poll<Result<usize>> {
        ready!(self.poll_instead(cx))?;
        if let Some(instead) = instead_of(written) {
            self.instead = instead;
            return Poll::Ready(Ok(written.len()));
        }
        Pin::new(&mut self.inner).poll_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        written: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if let [first, rest @ ..] = written
            && rest.iter().all(|slice| slice.is_empty())
            && (first.starts_with(TOO_LARGE) || first.starts_with(MALFORMED))
        {
            return self.poll_write(cx, first);
        }
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_instead(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_librarys_own_refusal_is_replaced() {
        let whole = |status: &str, length: usize, more: &str| {
            format!(
                "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\ndate: d\r\n{more}\r\n"
            )
            .into_bytes()
        };
        assert_eq!(instead_of(&whole("431 X", 0, "")), Some(too_large()));
        assert_eq!(instead_of(&whole("400 X", 0, "")), Some(malformed()));
        assert_eq!(instead_of(&whole("404 X", 0, "")), None);
        assert_eq!(instead_of(&whole("431 X", 10, "")), None);
        assert_eq!(instead_of(&whole("400 X", 0, "x-ms-ccf-transaction-id: 2.1\r\n")), None);
        assert_eq!(instead_of(&[whole("431 X", 0, ""), b"{}".to_vec()].concat()), None);
    }
}
