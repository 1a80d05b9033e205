//! `daemon-main`: opens store, network and engine, and serves the API on the sockets that the keeper holds.

use crate::settings::{Host, Settings};
use crate::traces::{self, Exporter};
use crate::users;
use corten_engine::network::DefaultBridge;
use corten_engine::plugin::PluginCaller;
use corten_engine::{Engine, EngineSettings, Failpoints, ShimSpawner};
use corten_http::tls::ServerTls;
use corten_keeper::Keeper;
use corten_network::{NetworkManager, NetworkSettings};
use corten_plugin::Plugins;
use corten_server::{Listener, Server, SpanSink};
use corten_store::{Store, StoreOptions};
use rustix::process::{Resource, Rlimit};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// Arenas of the allocator. By default there are eight for each processor, and each keeps some MiB that it had once.
const ARENAS: u16 = 4;

/// Serves until it is told to end.
pub(crate) fn run(
    settings: Settings,
    reread: impl Fn() -> Result<Settings, String> + Send + 'static,
) -> Result<(), String> {
    let (level, levels) = reload::Layer::new(LevelFilter::from_level(settings.log_level));
    tracing_subscriber::registry()
        .with(level)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false))
        .init();
    for warning in &settings.warnings {
        tracing::warn!("the file of settings: {warning}");
    }
    raise_open_files();
    corten_sys::allocator::limit_arenas(ARENAS);
    let keeper = Keeper::from_environment().map_err(|error| corten_std::chain(&error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))?;
    let reread = move || {
        let settings = reread()?;
        levels.reload(LevelFilter::from_level(settings.log_level)).map_err(|error| error.to_string())?;
        Ok(settings)
    };
    runtime.block_on(serve(settings, keeper, reread))
}

/// So long nothing has happened when memory is given back.
const QUIET: std::time::Duration = std::time::Duration::from_secs(20);

/// Gives back what the allocator keeps of much work, each time that there was some and it is quiet again.
async fn give_back_memory(engine: Engine) {
    let (mut seen, mut given) = (0, 0);
    loop {
        tokio::time::sleep(QUIET).await;
        let events = engine.counts().events;
        if events == seen && events != given {
            given = events;
            let _ = tokio::task::spawn_blocking(corten_sys::allocator::give_back).await;
        }
        seen = events;
    }
}

/// As many descriptors as this process may have: each container, attach and published port takes some. Containers are no
/// children of this process, and keep what the keeper was started with.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
}

async fn serve(
    settings: Settings,
    keeper: Keeper,
    reread: impl Fn() -> Result<Settings, String> + Send + 'static,
) -> Result<(), String> {
    let told = |error: &dyn std::error::Error| corten_std::chain(error);
    // Listened to from the start: a signal that comes while the store opens is not lost.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| told(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| told(&error))?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(|error| told(&error))?;
    let tls = settings.tls.wanted().map(|files| ServerTls::load(&files)).transpose();
    let tls = tls.map_err(|error| format!("TLS: {}", told(&error)))?;
    for host in &settings.hosts {
        if let (Host::Tcp(address), None) = (host, &tls) {
            tracing::warn!("tcp://{address} is open without TLS: whoever reaches it is root on this machine");
        }
    }
    let listeners = keeper.listeners().map_err(|error| told(&error))?;
    let listeners = listeners
        .into_iter()
        .map(|listener| {
            let (name, passed) = (listener.name, listener.passed);
            let listener = Listener::from_descriptor(listener.descriptor)?;
            if passed && tls.is_none() && matches!(listener, Listener::Tcp(_)) {
                tracing::warn!(
                    "the passed socket {name} is open without TLS: whoever reaches it is root here"
                );
            }
            Ok(match &tls {
                Some(tls) => listener.secured(tls),
                None => listener,
            })
        })
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| format!("cannot use the keeper's sockets: {error}"))?;
    let metrics = settings.metrics_address.map(|address| {
        let listener = std::net::TcpListener::bind(address).map(Listener::Tcp);
        listener.map_err(|error| format!("cannot listen on {address} for metrics: {error}"))
    });
    let metrics = metrics.transpose()?;
    // The variables may be there for all programs of the machine: what we cannot do with them keeps nobody from serving.
    let traces = traces::Settings::read(|name| std::env::var(name).ok()).unwrap_or_else(|error| {
        tracing::warn!("there are no traces: {error}");
        None
    });
    let traces = traces.map(Exporter::start).transpose()?.map(Arc::new);
    let plugins: Arc<dyn PluginCaller> = Arc::new(Plugins::default());
    let engine = open(&settings, keeper.clone(), Arc::clone(&plugins)).await?;
    keeper.ready().map_err(|error| told(&error))?;
    tracing::info!(data_root = %settings.paths.data_root.display(), "serving");
    let reloads = tokio::spawn({
        let engine = engine.clone();
        async move {
            while hang_up.recv().await.is_some() {
                match reread() {
                    Ok(settings) => {
                        for warning in &settings.warnings {
                            tracing::warn!("the file of settings: {warning}");
                        }
                        engine.reload(settings.reloadable);
                        tracing::info!("the settings were read anew");
                    }
                    Err(error) => tracing::error!("the settings stay as they are: {error}"),
                }
            }
        }
    });
    let memory = tokio::spawn(give_back_memory(engine.clone()));
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let served = Server::new(engine.clone())
        .authorized_by(settings.authorization_plugins, plugins)
        .metrics_on(metrics)
        .traced_by(traces.clone().map(|traces| traces as Arc<dyn SpanSink>))
        .serve(listeners, shutdown)
        .await;
    reloads.abort();
    memory.abort();
    if let Some(traces) = traces {
        let _ = tokio::task::spawn_blocking(move || traces.finish()).await;
    }
    engine.close().await;
    served.map_err(|error| format!("cannot serve: {error}"))
}

/// Opens the parts and joins them.
async fn open(settings: &Settings, keeper: Keeper, plugins: Arc<dyn PluginCaller>) -> Result<Engine, String> {
    let store = Store::open(&settings.paths, StoreOptions::default()).map_err(|error| crate::told(&error))?;
    let mut networks = NetworkSettings::new(settings.paths.clone(), &settings.bridge);
    networks.firewall = settings.firewall;
    networks.allowed_ports.clone_from(&settings.allowed_ports);
    let remap = match &settings.userns_remap {
        Some(wanted) => users::read(wanted)?,
        None => None,
    };
    let mut mapped = None;
    if let Some(remap) = remap {
        let namespaces = users::KeeperNamespaces::new(keeper.clone(), &remap);
        mapped = Some(Arc::new(namespaces.mapped_users(remap, settings.paths.snapshots())?));
        networks.users = Some(Arc::new(namespaces));
    }
    let network = NetworkManager::open(networks).map_err(|error| crate::told(&error))?;
    for warning in network.warnings() {
        tracing::warn!("{warning}");
    }
    let mut engine = EngineSettings::new(settings.paths.clone());
    engine.bridge = DefaultBridge {
        name: settings.bridge.clone(),
        address: settings.bridge_address,
        range: settings.bridge_range,
        ipv6: settings.ipv6,
        subnet6: settings.bridge_subnet6,
        mtu: settings.mtu,
        masquerade: settings.masquerade,
        inter_container: settings.inter_container,
        default_binding: settings.default_binding,
    };
    if settings.bridge != "corten0" {
        // Two daemons on one machine must not share a cgroup: each sweeps its own.
        engine.cgroup_parent = format!("corten-{}", settings.bridge);
    }
    engine.address_pools.clone_from(&settings.address_pools);
    engine.program = keeper.program();
    engine.selinux = settings.selinux;
    engine.defaults.clone_from(&settings.defaults);
    engine.reloadable.clone_from(&settings.reloadable);
    engine.dns.clone_from(&settings.dns);
    engine.dns_search.clone_from(&settings.dns_search);
    engine.dns_options.clone_from(&settings.dns_options);
    engine.host_gateway.clone_from(&settings.host_gateway);
    engine.users = mapped;
    engine.proxies.clone_from(&settings.proxies);
    engine.plugins = plugins;
    engine.zone = corten_std::zone::Zone::named(std::env::var("TZ").ok().as_deref());
    engine.authorization_plugins.clone_from(&settings.authorization_plugins);
    let failpoints: Vec<&str> = settings.failpoints.iter().map(String::as_str).collect();
    engine.failpoints = Failpoints::parse(&failpoints.join(","));
    let reserved =
        keeper.held().map_err(|error| format!("cannot take over what the keeper holds: {error}"))?;
    let reserved = reserved
        .into_iter()
        .flat_map(|(name, held)| held.into_iter().map(move |one| (name.clone(), one)))
        .collect();
    Engine::open(engine, store, network, Arc::new(Spawner(keeper)), reserved)
        .await
        .map_err(|error| crate::told(&error))
}

/// The keeper as what the engine asks for.
struct Spawner(Keeper);

impl ShimSpawner for Spawner {
    fn fork_shim(&self, request: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<u32> {
        match self.0.fork_shim(request, descriptors) {
            // A keeper that was killed while it forked cannot say which process it was; the shim's own socket tells
            // all that is needed of it.
            Ok(pid) => Ok(pid.map_or(0, i32::cast_unsigned)),
            Err(error) => Err(io::Error::other(corten_std::chain(&error))),
        }
    }

    fn hold(&self, name: &str, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        self.0.hold(name, descriptors).map_err(|error| io::Error::other(corten_std::chain(&error)))
    }

    fn release(&self, name: &str) -> io::Result<()> {
        self.0.release(name).map_err(|error| io::Error::other(corten_std::chain(&error)))
    }
}
