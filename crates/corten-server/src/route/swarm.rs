//! The cluster, which we are not: every route is answered as by a Docker that is in none.

use corten_api::route::Operation;
use corten_std::ErrorClass;

use crate::error::ApiError;

/// What Docker says to whoever asks a single machine about its cluster.
pub(crate) fn not_a_manager() -> ApiError {
    ApiError::new(
        ErrorClass::Unavailable,
        "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
    )
}

/// Only volumes of a cluster can be changed.
pub(crate) fn no_cluster_volumes() -> ApiError {
    ApiError::new(
        ErrorClass::Unavailable,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    )
}

pub(crate) fn answer(operation: Operation) -> ApiError {
    match operation {
        Operation::SwarmInit | Operation::SwarmJoin => {
            ApiError::new(ErrorClass::NotImplemented, "this engine does not form a swarm")
        }
        Operation::SwarmLeave => ApiError::new(ErrorClass::Unavailable, "This node is not part of a swarm"),
        _ => not_a_manager(),
    }
}
