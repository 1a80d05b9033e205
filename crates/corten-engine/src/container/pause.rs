//! Freezing a container, and letting it go on.

use crate::Engine;
use crate::container::handle::Request;
use crate::error::Result;

impl Engine {
    /// Freezes every process of the container.
    pub async fn pause(&self, reference: &str) -> Result<()> {
        let handle = self.find(reference)?;
        handle.ask(|reply| Request::Freeze { freeze: true, reply }).await
    }

    /// Lets them go on.
    pub async fn unpause(&self, reference: &str) -> Result<()> {
        let handle = self.find(reference)?;
        handle.ask(|reply| Request::Freeze { freeze: false, reply }).await
    }
}
