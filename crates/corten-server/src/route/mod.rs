//! What each route does: one file per family, and the table that joins them to the operations.

mod archive;
mod attach;
mod bundle;
mod container;
mod exec;
mod image;
mod network;
mod plugin;
mod registry;
mod stats;
mod swarm;
mod system;
mod volume;

use corten_api::route::Operation;
use corten_engine::Engine;
use corten_http::server::Response;

use crate::call::Call;
use crate::error::ApiError;
use crate::front::{Api, Outcome};

/// What a route gives.
type Result<T = Response> = std::result::Result<T, ApiError>;

/// All routes over one engine.
pub(crate) struct Routes {
    engine: Engine,
}

impl Routes {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

impl Api for Routes {
    fn call(&self, operation: Operation, call: Call) -> Outcome<'_> {
        use Operation as Op;
        let engine = &self.engine;
        // Boxed one by one: a connection waits for the one that it needs, and not with room for the largest of all.
        match operation {
            Op::PingHead | Op::Ping => Box::pin(async move { Ok(system::ping(operation)) }),
            Op::Version => Box::pin(system::version(engine, call)),
            Op::Info => Box::pin(system::info(engine, call)),
            Op::Events => Box::pin(system::events(engine, call)),
            Op::DiskUsage => Box::pin(system::disk_usage(engine, call)),

            Op::ContainerList => Box::pin(container::list(engine, call)),
            Op::ContainerCreate => Box::pin(container::create(engine, call)),
            Op::ContainerPrune => Box::pin(container::prune(engine, call)),
            Op::ContainerInspect => Box::pin(container::inspect(engine, call)),
            Op::ContainerTop => Box::pin(container::top(engine, call)),
            Op::ContainerLogs => Box::pin(container::logs(engine, call)),
            Op::ContainerResize => Box::pin(container::resize(engine, call)),
            Op::ContainerStart => Box::pin(container::start(engine, call)),
            Op::ContainerStop => Box::pin(container::stop(engine, call)),
            Op::ContainerRestart => Box::pin(container::restart(engine, call)),
            Op::ContainerKill => Box::pin(container::kill(engine, call)),
            Op::ContainerUpdate => Box::pin(container::update(engine, call)),
            Op::ContainerRename => Box::pin(container::rename(engine, call)),
            Op::ContainerPause => Box::pin(container::pause(engine, call)),
            Op::ContainerUnpause => Box::pin(container::unpause(engine, call)),
            Op::ContainerWait => Box::pin(container::wait(engine, call)),
            Op::ContainerRemove => Box::pin(container::remove(engine, call)),
            Op::ContainerAttach => Box::pin(attach::attach(engine, call)),
            Op::ContainerChanges => Box::pin(archive::changes(engine, call)),
            Op::CheckpointList | Op::CheckpointCreate => {
                Box::pin(async move { Err(container::no_checkpoints()) })
            }
            Op::ContainerExport => Box::pin(archive::export(engine, call)),
            Op::ArchiveStat => Box::pin(archive::stat(engine, call)),
            Op::ArchiveGet => Box::pin(archive::get(engine, call)),
            Op::ArchivePut => Box::pin(archive::put(engine, call)),

            Op::ExecCreate => Box::pin(exec::create(engine, call)),
            Op::ExecStart => Box::pin(exec::start(engine, call)),
            Op::ExecResize => Box::pin(exec::resize(engine, call)),
            Op::ExecInspect => Box::pin(exec::inspect(engine, call)),

            Op::ImageList => Box::pin(image::list(engine, call)),
            Op::ImageInspect => Box::pin(image::inspect(engine, call)),
            Op::ImageAttestations => Box::pin(async move { Err(ApiError::page_not_found()) }),
            Op::ImageHistory => Box::pin(image::history(engine, call)),
            Op::ImageSave | Op::ImageSaveMany => Box::pin(image::save(engine, call)),
            Op::ImageLoad => Box::pin(image::load(engine, call)),
            Op::ImageTag => Box::pin(image::tag(engine, call)),
            Op::ImageRemove => Box::pin(image::remove(engine, call)),
            Op::ImagePrune => Box::pin(image::prune(engine, call)),
            Op::ImageCreate => Box::pin(image::create(engine, call)),

            Op::VolumeList => Box::pin(volume::list(engine, call)),
            Op::VolumeCreate => Box::pin(volume::create(engine, call)),
            Op::VolumePrune => Box::pin(volume::prune(engine, call)),
            Op::VolumeInspect => Box::pin(volume::inspect(engine, call)),
            Op::VolumeRemove => Box::pin(volume::remove(engine, call)),
            Op::VolumeUpdate => Box::pin(async move { Err(swarm::no_cluster_volumes()) }),

            Op::NetworkList | Op::NetworkListSlash => Box::pin(network::list(engine, call)),
            Op::NetworkCreate => Box::pin(network::create(engine, call)),
            Op::NetworkPrune => Box::pin(network::prune(engine, call)),
            Op::NetworkInspect => Box::pin(network::inspect(engine, call)),
            Op::NetworkConnect => Box::pin(network::connect(engine, call)),
            Op::NetworkDisconnect => Box::pin(network::disconnect(engine, call)),
            Op::NetworkRemove => Box::pin(network::remove(engine, call)),

            Op::BuildPrune => Box::pin(async move { system::build_prune(engine, &call) }),
            Op::BuildCancel => Box::pin(async move { system::build_cancel(&call) }),
            Op::Auth => Box::pin(registry::auth(engine, call)),
            Op::ImageSearch => Box::pin(registry::search(engine, call)),
            Op::ImagePush => Box::pin(registry::push(engine, call)),
            Op::ImageInventory => Box::pin(bundle::inventory(engine)),
            Op::ImageBundle => Box::pin(bundle::bundle(engine, call)),
            Op::ImageCompact => Box::pin(registry::compact(engine, call)),
            Op::ImageVerify => Box::pin(registry::verify(engine, call)),
            Op::DistributionInspect => Box::pin(registry::inspect(engine, call)),
            Op::Commit => Box::pin(image::commit(engine, call)),
            Op::ContainerStats => Box::pin(stats::stats(engine, call)),
            Op::ContainerAttachWebSocket => Box::pin(attach::attach_websocket(engine, call)),
            Op::Build | Op::Session | Op::Grpc => {
                Box::pin(async move { Err(ApiError::not_built("building images")) })
            }

            Op::PluginList
            | Op::PluginPrivileges
            | Op::PluginInspect
            | Op::PluginPull
            | Op::PluginCreate
            | Op::PluginEnable
            | Op::PluginDisable
            | Op::PluginPush
            | Op::PluginUpgrade
            | Op::PluginSet
            | Op::PluginRemove => Box::pin(async move { plugin::answer(operation, &call) }),

            Op::SwarmInspect
            | Op::SwarmUnlockKey
            | Op::SwarmInit
            | Op::SwarmJoin
            | Op::SwarmLeave
            | Op::SwarmUpdate
            | Op::SwarmUnlock
            | Op::ServiceList
            | Op::ServiceCreate
            | Op::ServiceLogs
            | Op::ServiceUpdate
            | Op::ServiceInspect
            | Op::ServiceRemove
            | Op::NodeList
            | Op::NodeUpdate
            | Op::NodeInspect
            | Op::NodeRemove
            | Op::TaskList
            | Op::TaskLogs
            | Op::TaskInspect
            | Op::SecretList
            | Op::SecretCreate
            | Op::SecretUpdate
            | Op::SecretInspect
            | Op::SecretRemove
            | Op::ConfigList
            | Op::ConfigCreate
            | Op::ConfigUpdate
            | Op::ConfigInspect
            | Op::ConfigRemove => Box::pin(async move { Err(swarm::answer(operation)) }),
        }
    }
}
