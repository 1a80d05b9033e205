//! The Engine API over the engine; the one place for status codes and for wire and internal forms.
//!
//! A request comes in at [`front`]: version prefix, route, headers that every answer has, errors to status codes.
//! What each route does stands in `route`, one file per family; what older versions of the API get differently is
//! data in `gate`.

mod call;
mod error;
mod front;
mod gate;
mod reply;
mod route;
mod stream;

use std::future::Future;
use std::io;
use std::sync::Arc;

use corten_engine::Engine;
pub use corten_http::server::{Listener, Settings};

use crate::front::Front;
use crate::route::Routes;

/// The API of one engine.
#[derive(Clone)]
pub struct Server {
    engine: Engine,
    settings: Settings,
}

impl Server {
    /// With the usual patience.
    pub fn new(engine: Engine) -> Self {
        Self { engine, settings: Settings::default() }
    }

    /// Answers on these listeners until `shutdown` ends, and then a little longer for what was begun
    /// ([`Settings::stop_timeout`]).
    pub async fn serve(self, listeners: Vec<Listener>, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let front = Arc::new(Front::new(Routes::new(self.engine)));
        corten_http::server::serve(listeners, front, self.settings, shutdown).await
    }
}
