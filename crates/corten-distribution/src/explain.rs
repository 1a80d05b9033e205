//! Which host answered what, how fast, and why it was asked; and waits that a registry asks for.

use crate::error::DistributionError;
use crate::hosts::Endpoint;
use crate::registry::{Ask, Repository, Target};
use crate::transport::Response;
use corten_std::size;
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Questions that are kept.
const KEPT: usize = 1000;
/// A wait is told each second when it is shorter than this, and now and then before.
const EACH_SECOND: u64 = 5;

/// One question, and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `GET`, …; empty for the content of a blob.
    pub method: String,
    /// What was asked for: the end of its address.
    pub what: String,
    /// Scheme, host and port.
    pub place: String,
    /// Why that one.
    pub why: String,
    /// The answer, or why there is none.
    pub outcome: String,
    /// Until the answer's head; for content until its end.
    pub took: Duration,
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, what, place, why, outcome, took } = self;
        let millis = took.as_secs_f64() * 1000.0;
        if method.is_empty() {
            return write!(formatter, "{what} from {place}: {outcome}");
        }
        write!(formatter, "{method} {what} at {place} ({why}): {outcome} in {millis:.1} ms")
    }
}

type Waits = Arc<dyn Fn(&str, u64) + Send + Sync>;

/// Who wants to know.
#[derive(Clone, Default)]
pub(crate) struct Listener {
    explains: bool,
    /// Told of a host and how many seconds are left.
    waits: Option<Waits>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Listener").field("explains", &self.explains).finish_non_exhaustive()
    }
}

impl Repository {
    /// The same, with every question kept in its notices.
    #[must_use]
    pub fn explaining(mut self) -> Self {
        self.listener.explains = true;
        self
    }

    /// The same; `waits` is told of the host and the seconds that are left while a registry has us wait.
    #[must_use]
    pub fn telling_waits(mut self, waits: impl Fn(&str, u64) + Send + Sync + 'static) -> Self {
        self.listener.waits = Some(Arc::new(waits));
        self
    }

    /// The places in the order in which they are asked, each with why it is one and what it may be asked for.
    pub fn places(&self) -> Vec<String> {
        let place = |endpoint: &Endpoint| {
            let may = endpoint.capabilities;
            let may = [("resolve", may.resolve), ("pull", may.pull), ("push", may.push)];
            let may: Vec<&str> = may.iter().filter(|(_, may)| *may).map(|(name, _)| *name).collect();
            let may = if may.is_empty() { "nothing".to_owned() } else { may.join(", ") };
            format!("{} ({}; {may})", endpoint.base.origin(), endpoint.why)
        };
        self.endpoints.iter().map(place).collect()
    }

    fn keep(&self, asked: Asked) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.asked.len() < KEPT {
            notices.asked.push(asked);
        }
    }

    pub(crate) fn tell_asked(
        &self,
        endpoint: &Endpoint,
        ask: &Ask<'_>,
        answered: &Result<Response, DistributionError>,
        took: Duration,
    ) {
        if !self.listener.explains {
            return;
        }
        let what = match ask.target {
            Target::Path(path) => path.trim_start_matches('/'),
            // What stands behind the question mark may be secret.
            Target::Address(url) => url.path.split('?').next().unwrap_or_default(),
        };
        let what = what.strip_prefix(&self.path).unwrap_or(what).trim_start_matches('/').to_owned();
        let outcome = match answered {
            Ok(response) if response.url.authority() != endpoint.base.authority() => {
                format!("{} from {}, where it redirects", response.status.as_u16(), response.url.origin())
            }
            Ok(response) => response.status.as_u16().to_string(),
            Err(DistributionError::Refused { status, message, .. }) => format!("{status} {message}"),
            Err(error) => error.to_string(),
        };
        self.keep(Asked {
            method: ask.method.to_string(),
            what,
            place: endpoint.base.origin(),
            why: endpoint.why.clone(),
            outcome,
            took,
        });
    }

    /// Content that came, whole or in part.
    pub(crate) fn tell_content(&self, what: &str, place: String, length: u64, took: Duration) {
        if !self.listener.explains {
            return;
        }
        let speed = length as f64 / took.as_secs_f64().max(1e-6);
        let outcome = format!(
            "{} in {:.2} s ({}/s)",
            size::human(length as f64),
            took.as_secs_f64(),
            size::human(speed)
        );
        let what = what.to_owned();
        self.keep(Asked { method: String::new(), what, place, why: String::new(), outcome, took });
    }

    /// Waits as long as a registry asks, and tells how long that still is.
    pub(crate) async fn wait_as_asked(&self, endpoint: &Endpoint, time: Duration) {
        let whole = time.as_secs();
        for left in (1..=whole).rev() {
            if let Some(waits) = &self.listener.waits
                && (left == whole || left <= EACH_SECOND || left % EACH_SECOND == 0)
            {
                waits(&endpoint.base.authority(), left);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
