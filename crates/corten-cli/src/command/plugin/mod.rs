//! `plugin …`: managed plugins, which Corten's engine has none of and another engine may have.

pub(crate) mod create;
pub(crate) mod disable;
pub(crate) mod enable;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod ls;
pub(crate) mod push;
pub(crate) mod rm;
pub(crate) mod set;
pub(crate) mod upgrade;

use crate::context::Context;
use crate::error::{CliError, Result};

/// What brings managed plugins into an engine: Corten's says what to do instead, and another one is asked by its own client.
fn refused(context: &mut Context, plugin: &str) -> Result<u8> {
    context.client()?.plugin_privileges(plugin)?;
    Err(CliError::said(format!(
        "{}: managed plugins are brought into this engine by its own client",
        context.program
    )))
}
