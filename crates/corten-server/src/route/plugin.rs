//! Managed plug-ins, of which there are none.

use corten_api::route::Operation;

use super::Result;
use crate::call::Call;
use crate::error::ApiError;
use crate::reply;

pub(crate) fn answer(operation: Operation, call: &Call) -> Result {
    match operation {
        Operation::PluginList => Ok(reply::json(200, &[(); 0])),
        Operation::PluginPull | Operation::PluginCreate | Operation::PluginPrivileges => {
            Err(ApiError::not_built("installing plug-ins"))
        }
        _ => Err(ApiError::not_found(format!("plugin \"{}\" not found", call.name))),
    }
}
