//! The flags that `create` and `run` share, as typed.

use corten_api::container::{ThrottleDevice, Ulimit, WeightDevice};

/// What is typed; `request::resolve` makes the document of it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct CreateFlags {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_parser = crate::flags::network::extra_host)]
    pub(crate) add_host: Vec<String>,
    /// Add an annotation to the container (passed through to the OCI runtime)
    #[arg(long, value_name = "map")]
    pub(crate) annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short = 'a', long, value_parser = crate::flags::request::stream_name)]
    pub(crate) attach: Vec<String>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "uint16", default_value = "0", hide_default_value = true)]
    pub(crate) blkio_weight: u16,
    /// Block IO weight (relative device weight)
    #[arg(long, value_parser = crate::flags::device::weight)]
    pub(crate) blkio_weight_device: Vec<WeightDevice>,
    /// Add Linux capabilities
    #[arg(long)]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long)]
    pub(crate) cap_drop: Vec<String>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) cgroup_parent: String,
    /// Cgroup namespace to use: 'host', 'private', or '' for the daemon's default
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) cgroupns: String,
    /// Write the container ID to the file
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) cidfile: String,
    /// Limit CPU CFS (Completely Fair Scheduler) period
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "0", hide_default_value = true)]
    pub(crate) cpu_period: i64,
    /// Limit CPU CFS (Completely Fair Scheduler) quota
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "0", hide_default_value = true)]
    pub(crate) cpu_quota: i64,
    /// Limit CPU real-time period in microseconds
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "0", hide_default_value = true)]
    pub(crate) cpu_rt_period: i64,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "0", hide_default_value = true)]
    pub(crate) cpu_rt_runtime: i64,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "0", hide_default_value = true)]
    pub(crate) cpu_shares: i64,
    /// Number of CPUs
    #[arg(long, value_name = "decimal", value_parser = crate::flags::number::processors, default_value = "0", hide_default_value = true)]
    pub(crate) cpus: i64,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) cpuset_cpus: String,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) cpuset_mems: String,
    /// Add a host device to the container
    #[arg(long)]
    pub(crate) device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_parser = crate::flags::device::cgroup_rule)]
    pub(crate) device_cgroup_rule: Vec<String>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_parser = crate::flags::device::throttle)]
    pub(crate) device_read_bps: Vec<ThrottleDevice>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_parser = crate::flags::device::throttle)]
    pub(crate) device_read_iops: Vec<ThrottleDevice>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_parser = crate::flags::device::throttle)]
    pub(crate) device_write_bps: Vec<ThrottleDevice>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_parser = crate::flags::device::throttle)]
    pub(crate) device_write_iops: Vec<ThrottleDevice>,
    /// Skip image verification
    #[arg(long, default_value = "true")]
    pub(crate) disable_content_trust: bool,
    /// Set custom DNS servers
    #[arg(long, value_parser = crate::flags::network::dns)]
    pub(crate) dns: Vec<String>,
    /// Set DNS options
    #[arg(long)]
    pub(crate) dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_parser = crate::flags::network::search_domain)]
    pub(crate) dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) domainname: String,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "string")]
    pub(crate) entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short = 'e', long, value_parser = crate::flags::key_value::variable)]
    pub(crate) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long)]
    pub(crate) env_file: Vec<String>,
    /// Expose a port or a range of ports
    #[arg(long)]
    pub(crate) expose: Vec<String>,
    /// GPU devices to add to the container ('all' to pass all GPUs)
    #[arg(long, value_name = "gpu-request", value_parser = crate::flags::device::checked_gpus)]
    pub(crate) gpus: Option<String>,
    /// Add additional groups to join
    #[arg(long)]
    pub(crate) group_add: Vec<String>,
    /// Command to run to check health
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) health_cmd: String,
    /// Time between running the check (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = crate::flags::number::nanoseconds, default_value = "0", hide_default_value = true)]
    pub(crate) health_interval: i64,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "0", hide_default_value = true)]
    pub(crate) health_retries: i64,
    /// Time between running the check during the start period (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = crate::flags::number::nanoseconds, default_value = "0", hide_default_value = true)]
    pub(crate) health_start_interval: i64,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = crate::flags::number::nanoseconds, default_value = "0", hide_default_value = true)]
    pub(crate) health_start_period: i64,
    /// Maximum time to allow one check to run (ms|s|m|h) (default 0s)
    #[arg(long, value_name = "duration", value_parser = crate::flags::number::nanoseconds, default_value = "0", hide_default_value = true)]
    pub(crate) health_timeout: i64,
    /// Container host name
    #[arg(short = 'h', long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) hostname: String,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    pub(crate) init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short = 'i', long)]
    pub(crate) interactive: bool,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, value_name = "string")]
    pub(crate) ip: Option<String>,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, value_name = "string")]
    pub(crate) ip6: Option<String>,
    /// IPC mode to use
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) ipc: String,
    /// Container isolation technology
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) isolation: String,
    /// Kernel memory limit
    #[arg(long, value_name = "bytes", value_parser = crate::flags::number::bytes, default_value = "0", hide_default_value = true)]
    pub(crate) kernel_memory: i64,
    /// Set meta data on a container
    #[arg(short = 'l', long, value_parser = crate::flags::key_value::label)]
    pub(crate) label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long)]
    pub(crate) label_file: Vec<String>,
    /// Add link to another container
    #[arg(long, value_parser = crate::flags::network::link)]
    pub(crate) link: Vec<String>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long)]
    pub(crate) link_local_ip: Vec<String>,
    /// Logging driver for the container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) log_driver: String,
    /// Log driver options
    #[arg(long)]
    pub(crate) log_opt: Vec<String>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "string")]
    pub(crate) mac_address: Option<String>,
    /// Memory limit
    #[arg(short = 'm', long, value_name = "bytes", value_parser = crate::flags::number::bytes, default_value = "0", hide_default_value = true)]
    pub(crate) memory: i64,
    /// Memory soft limit
    #[arg(long, value_name = "bytes", value_parser = crate::flags::number::bytes, default_value = "0", hide_default_value = true)]
    pub(crate) memory_reservation: i64,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "bytes", value_parser = crate::flags::number::swap, default_value = "0", hide_default_value = true)]
    pub(crate) memory_swap: i64,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "-1")]
    pub(crate) memory_swappiness: i64,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "mount", value_parser = crate::flags::mount::checked)]
    pub(crate) mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "string")]
    pub(crate) name: Option<String>,
    /// Connect a container to a network
    #[arg(long, value_name = "network", value_parser = crate::flags::network::checked)]
    pub(crate) network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long)]
    pub(crate) network_alias: Vec<String>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
    /// Disable OOM Killer
    #[arg(long)]
    pub(crate) oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "int", default_value = "0", hide_default_value = true)]
    pub(crate) oom_score_adj: i32,
    /// PID namespace to use
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) pid: String,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole, default_value = "0", hide_default_value = true)]
    pub(crate) pids_limit: i64,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    pub(crate) platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Publish a container's port(s) to the host
    #[arg(short = 'p', long)]
    pub(crate) publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Pull image before running ("always", "missing", "never")
    #[arg(long, value_name = "string", default_value = "missing")]
    pub(crate) pull: String,
    /// Suppress the pull output
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "string", default_value = "no")]
    pub(crate) restart: String,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Run the folder PATH, copy-on-write, instead of an image: the arguments are the command
    #[arg(long, value_name = "path")]
    pub(crate) rootfs: Option<String>,
    /// Runtime to use for this container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) runtime: String,
    /// Security Options
    #[arg(long)]
    pub(crate) security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "bytes", value_parser = crate::flags::number::bytes, default_value = "0", hide_default_value = true)]
    pub(crate) shm_size: i64,
    /// Signal to stop the container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) stop_signal: String,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "int", value_parser = crate::flags::number::whole)]
    pub(crate) stop_timeout: Option<i64>,
    /// Storage driver options for the container
    #[arg(long)]
    pub(crate) storage_opt: Vec<String>,
    /// Sysctl options
    #[arg(long, value_name = "map", value_parser = crate::flags::network::sysctl)]
    pub(crate) sysctl: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long)]
    pub(crate) tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "ulimit")]
    pub(crate) ulimit: Vec<Ulimit>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short = 'u', long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) user: String,
    /// User namespace to use
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) userns: String,
    /// UTS namespace to use
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) uts: String,
    /// Bind mount a volume
    #[arg(short = 'v', long)]
    pub(crate) volume: Vec<String>,
    /// Optional volume driver for the container
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) volume_driver: String,
    /// Mount volumes from the specified container(s)
    #[arg(long)]
    pub(crate) volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short = 'w', long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) workdir: String,
}
