//! An HTTP/1.1 server whose connections can be taken over raw.
//!
//! [`serve`] accepts on given listeners and runs one task per connection: read a head ([`head`]), call the
//! [`Handler`], write its [`Response`], again. What a client's disconnect does: a streamed body is dropped, which ends
//! its producer; a handler that has not answered yet runs to its end; a taken-over connection is its taker's business.
//!
//! The loop is strict where two readers of the same bytes could disagree about where a request ends: see [`head`] and
//! [`chunk`].

pub mod chunk;
pub mod head;
pub mod websocket;

mod body;
mod connection;
mod date;
mod listen;
mod response;
mod secure;
mod stream;

use std::future::Future;
use std::pin::Pin;

pub use body::{BlockingReader, BodyError, RequestBody};
pub use head::RequestHead;
pub use listen::{Listener, Settings, serve};
pub use response::{BlockingWriter, Body, BodyStream, Hijacked, NextPiece, Response};

/// A request with its body still to be read.
#[derive(Debug)]
pub struct Request {
    /// Request line and headers.
    pub head: RequestHead,
    /// The body; what is not read of it is passed over.
    pub body: RequestBody,
}

/// What a handler returns: an answer, later.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

/// Answers requests. One handler serves all connections.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Not cancelled when the client goes away.
    fn handle(&self, request: Request) -> Answer<'_>;
}
