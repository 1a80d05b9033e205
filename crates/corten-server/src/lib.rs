//! The Engine API over the engine; the one place for status codes and for wire and internal forms.
//!
//! A request comes in at [`front`]: version prefix, route, headers that every answer has, errors to status codes.
//! What each route does stands in `route`, one file per family; what older versions of the API get differently is
//! data in `gate`.

mod authorize;
mod call;
mod encoding;
mod error;
mod front;
mod gate;
mod metrics;
mod reply;
mod route;
mod stream;
mod traces;

use std::future::Future;
use std::io;
use std::sync::Arc;

use corten_engine::Engine;
use corten_engine::plugin::PluginCaller;
pub use corten_http::server::{Listener, Settings};

use crate::authorize::Authorization;
use crate::front::Front;
use crate::metrics::{Exporter, Metrics};
use crate::route::Routes;
pub use crate::traces::{Span, SpanSink};

/// The API of one engine.
pub struct Server {
    engine: Engine,
    settings: Settings,
    authorization: Option<Authorization>,
    metrics: Option<Listener>,
    traces: Option<Arc<dyn SpanSink>>,
}

impl Server {
    /// With the usual patience.
    pub fn new(engine: Engine) -> Self {
        Self { engine, settings: Settings::default(), authorization: None, metrics: None, traces: None }
    }

    /// With plugins that are asked, in this order, about every request and every answer.
    #[must_use]
    pub fn authorized_by(mut self, plugins: Vec<String>, caller: Arc<dyn PluginCaller>) -> Self {
        self.authorization = (!plugins.is_empty()).then(|| Authorization::new(plugins, caller));
        self
    }

    /// With numbers for Prometheus at `/metrics` of this listener.
    #[must_use]
    pub fn metrics_on(mut self, listener: Option<Listener>) -> Self {
        self.metrics = listener;
        self
    }

    /// With a span of each request for whoever wants them.
    #[must_use]
    pub fn traced_by(mut self, sink: Option<Arc<dyn SpanSink>>) -> Self {
        self.traces = sink;
        self
    }

    /// Answers on these listeners until `shutdown` ends, and then a little longer for what was begun
    /// ([`Settings::stop_timeout`]).
    pub async fn serve(self, listeners: Vec<Listener>, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let metrics = Arc::new(Metrics::default());
        let exporter = self.metrics.map(|listener| {
            let exporter = Exporter { engine: self.engine.clone(), metrics: Arc::clone(&metrics) };
            let never = std::future::pending();
            tokio::spawn(corten_http::server::serve(vec![listener], Arc::new(exporter), self.settings, never))
        });
        let front = Front::new(Routes::new(self.engine))
            .authorized(self.authorization)
            .measured(metrics)
            .traced(self.traces);
        let served = corten_http::server::serve(listeners, Arc::new(front), self.settings, shutdown).await;
        if let Some(exporter) = exporter {
            exporter.abort();
        }
        served
    }
}
