//! Plugins by Docker's protocol: a server of JSON calls, and a small driver of networks and addresses on it.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where Docker's plugins have their sockets.
const SOCKETS: &str = "/run/docker/plugins";

/// What is answered to a method with a request.
pub type Answers = Box<dyn FnMut(&str, &Value) -> Value + Send>;

/// A plugin of one test, whose name ends in the test's process id; its socket goes with it.
#[derive(Debug)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    socket: PathBuf,
    /// Every call, `Method Name`.
    pub calls: Arc<Mutex<Vec<String>>>,
    gone: Arc<AtomicBool>,
}

impl Plugin {
    /// Listens, and answers on a thread.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub fn start(name: &str, mut answers: Answers) -> Self {
        let name = format!("{name}-{}", std::process::id());
        std::fs::create_dir_all(SOCKETS).expect("the folder of plugins can be made");
        let socket = Path::new(SOCKETS).join(format!("{name}.sock"));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("a plugin can listen");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let gone = Arc::new(AtomicBool::new(false));
        let (told, ended) = (Arc::clone(&calls), Arc::clone(&gone));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // One that breaks off is no reason to end.
                let _ = answer(stream, &mut answers, &told);
            }
        });
        Self { name, socket, calls, gone }
    }

    /// What it was called for since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.socket);
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn answer(stream: UnixStream, answers: &mut Answers, told: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let method = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let subject = ["Name", "RequestUri", "Address", "Pool"].into_iter().find_map(|key| request[key].as_str());
    let mut calls = told.lock().unwrap_or_else(PoisonError::into_inner);
    calls.push(format!("{method} {}", subject.unwrap_or_default()).trim_end().to_owned());
    drop(calls);
    let answer = answers(&method, &request);
    if answer.is_null() {
        return Ok(());
    }
    let answer = answer.to_string();
    write!(
        reader.get_mut(),
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    )
}

/// A driver of networks and of their addresses: each network is a bridge of its own, each container's place a cable
/// to it. Bridges and cables are made by the program `ip`.
#[derive(Debug, Default)]
pub struct NetworkDriver {
    /// By network: its bridge and the next hop.
    networks: BTreeMap<String, (String, String)>,
    /// Its ends of cables.
    cables: BTreeSet<String>,
    /// By pool: its first three numbers, and the last ones that are given.
    pools: BTreeMap<String, (String, BTreeSet<u8>)>,
    /// Methods that are refused, and with what.
    refused: Arc<Mutex<BTreeMap<String, String>>>,
}

/// What was not given back goes with the plugin, so that a test that fails leaves nothing.
impl Drop for NetworkDriver {
    fn drop(&mut self) {
        for link in self.cables.iter().chain(self.networks.values().map(|(bridge, _)| bridge)) {
            let _ = ip(&["link", "delete", link]);
        }
    }
}

impl NetworkDriver {
    /// One that refuses what is put into the map.
    pub fn refusing(refused: Arc<Mutex<BTreeMap<String, String>>>) -> Self {
        let mut driver = Self::default();
        driver.refused = refused;
        driver
    }

    /// What it answers.
    pub fn answers(mut self) -> Answers {
        Box::new(move |method, request| {
            self.answer(method, request).unwrap_or_else(|text| {
                let key = if method.starts_with("IpamDriver") { "Error" } else { "Err" };
                json!({ key: text })
            })
        })
    }

    fn answer(&mut self, method: &str, request: &Value) -> Result<Value, String> {
        if let Some(text) = self.refused.lock().unwrap_or_else(PoisonError::into_inner).get(method) {
            return Err(text.clone());
        }
        let word = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
        let short = |id: &str| id[..8.min(id.len())].to_owned();
        let (network, endpoint) = (word("NetworkID"), word("EndpointID"));
        let (near, far) = (format!("cn{}", short(&endpoint)), format!("cf{}", short(&endpoint)));
        Ok(match method {
            "Plugin.Activate" => json!({"Implements": ["NetworkDriver", "IpamDriver"]}),
            "NetworkDriver.GetCapabilities" => json!({"Scope": "local"}),
            "NetworkDriver.CreateNetwork" => {
                let bridge = format!("ct{}", short(&network));
                let data = &request["IPv4Data"][0];
                let gateway = data["Gateway"].as_str().unwrap_or_default().to_owned();
                ip(&["link", "add", &bridge, "type", "bridge"])?;
                ip(&["link", "set", &bridge, "up"])?;
                if !gateway.is_empty() {
                    ip(&["address", "add", &gateway, "dev", &bridge])?;
                }
                let hop = gateway.split('/').next().unwrap_or_default().to_owned();
                self.networks.insert(network, (bridge, hop));
                json!({})
            }
            "NetworkDriver.DeleteNetwork" => {
                if let Some((bridge, _)) = self.networks.remove(&network) {
                    ip(&["link", "delete", &bridge])?;
                }
                json!({})
            }
            "NetworkDriver.CreateEndpoint" if word("EndpointID").is_empty() => {
                return Err("no endpoint".to_owned());
            }
            "NetworkDriver.Join" => {
                let (bridge, hop) = self.networks.get(&network).ok_or("no such network")?.clone();
                ip(&["link", "add", &near, "type", "veth", "peer", "name", &far])?;
                self.cables.insert(near.clone());
                ip(&["link", "set", &near, "master", &bridge, "up"])?;
                json!({
                    "InterfaceName": {"SrcName": far, "DstPrefix": "plug"},
                    "Gateway": hop,
                    "StaticRoutes": [
                        {"Destination": "10.254.1.0/24", "RouteType": 0, "NextHop": hop},
                        {"Destination": "10.254.2.0/24", "RouteType": 1},
                    ],
                })
            }
            "NetworkDriver.DeleteEndpoint" => {
                // Where it is left still, so that what is given back by the engine is seen.
                let _ = ip(&["link", "delete", &far]);
                json!({})
            }
            "IpamDriver.GetDefaultAddressSpaces" => {
                json!({"LocalDefaultAddressSpace": "here", "GlobalDefaultAddressSpace": "everywhere"})
            }
            "IpamDriver.RequestPool" => {
                let number = self.pools.len();
                let pool = word("Pool");
                let pool = if pool.is_empty() { format!("10.253.{number}.0/24") } else { pool };
                let first = pool.rsplit_once('.').map_or("", |(first, _)| first).to_owned();
                let name = format!("pool {number}");
                self.pools.insert(name.clone(), (first, BTreeSet::new()));
                json!({"PoolID": name, "Pool": pool})
            }
            "IpamDriver.ReleasePool" => {
                self.pools.remove(&word("PoolID")).ok_or("no such pool")?;
                json!({})
            }
            "IpamDriver.RequestAddress" => {
                let (first, given) = self.pools.get_mut(&word("PoolID")).ok_or("no such pool")?;
                let last = match word("Address").parse::<Ipv4Addr>() {
                    Ok(address) => address.octets()[3],
                    Err(_) => (1..=254).find(|last| !given.contains(last)).ok_or("the pool is empty")?,
                };
                if !given.insert(last) {
                    return Err(format!("{first}.{last} is somebody's"));
                }
                json!({"Address": format!("{first}.{last}/24")})
            }
            "IpamDriver.ReleaseAddress" => {
                let (_, given) = self.pools.get_mut(&word("PoolID")).ok_or("no such pool")?;
                let address: Ipv4Addr = word("Address").parse().map_err(|_| "no address".to_owned())?;
                if !given.remove(&address.octets()[3]) {
                    return Err(format!("{address} is nobody's"));
                }
                json!({})
            }
            _ => json!({}),
        })
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
