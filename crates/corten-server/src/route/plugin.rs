//! Managed plug-ins, of which there are none.

use corten_api::route::Operation;
use corten_std::ErrorClass;

use super::Result;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply;

pub(crate) fn answer(operation: Operation, call: &Call) -> Result {
    match operation {
        Operation::PluginList => Ok(reply::json(200, &[(); 0])),
        Operation::PluginPull | Operation::PluginCreate | Operation::PluginPrivileges => Err(ApiError::new(
            ErrorClass::NotImplemented,
            "managed plugins are not supported by this engine: run the plugin as a program with a socket in \
             /run/docker/plugins, or name it in a file in /etc/docker/plugins",
        )),
        _ => Err(ApiError::not_found(format!("plugin \"{}\" not found", call.name))),
    }
}
