//! Keeping to the host's input rules: which published ports are closed to other hosts, and following when rules change.

use super::{NetworkManager, Shared, State, lock};
use crate::firewall::SetElement;
use crate::policy::{self, Closed, HostPolicy, Service};
use crate::settings::{FirewallMode, PortMapping, PublishedPort};
use corten_sys::netlink::nftables::{self as nft, Change};
use corten_sys::netlink::{NetlinkError, Protocol as Family, Socket, events::Events};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long it is waited after a change of rules: programs make many changes one after the other.
const CALM: Duration = Duration::from_millis(50);
/// How often tables are looked at that tell nobody of changes.
const LEGACY_INTERVAL: i64 = 5;

/// What is known of the host's rules, and what follows for the ports that are published.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    host: HostPolicy,
    closed: Closed,
    /// What [`Policy::closed`] was judged for.
    judged: std::collections::BTreeSet<Service>,
}

impl Policy {
    /// Elements of the sets of closed ports.
    pub(crate) fn elements(&self) -> Vec<SetElement> {
        self.closed.keys().copied().map(crate::firewall::closed_element).collect()
    }
}

impl Shared {
    fn keeps_to_policy(&self) -> bool {
        self.settings.firewall == FirewallMode::Host && self.firewall.is_some()
    }

    /// Reads the host's rules, and judges all published ports anew. What cannot be read leaves everything as it is.
    pub(super) fn refresh_policy(&self, state: &State) -> Result<(), NetlinkError> {
        self.read_policy()?.map_or(Ok(()), |host| self.judge(host, state))
    }

    /// Reads the host's rules, where they are kept to. No lock is held meanwhile: there may be very many.
    fn read_policy(&self) -> Result<Option<HostPolicy>, NetlinkError> {
        if !self.keeps_to_policy() {
            return Ok(None);
        }
        let (mut netfilter, mut route) = (Socket::open(Family::Netfilter)?, Socket::open(Family::Route)?);
        let legacy = lock(&self.policy).host.legacy.clone();
        HostPolicy::read(&mut netfilter, &mut route, &self.settings.table, legacy).map(Some)
    }

    /// Judges all published ports by rules that were just read.
    fn judge(&self, host: HostPolicy, state: &State) -> Result<(), NetlinkError> {
        let services = published(state);
        let mut policy = lock(&self.policy);
        let closed = policy::closed(&host, &self.settings.allowed_ports, services.iter().copied());
        for (service, region) in &closed {
            if region.is_empty() && policy.closed.get(service) != Some(region) {
                tracing::warn!(
                    port = service.port,
                    ipv6 = service.ipv6,
                    remedy = host.remedy(*service),
                    "a published port is closed to other hosts by this host's firewall"
                );
            }
        }
        policy.host = host;
        policy.judged = services.into_iter().collect();
        self.enforce(&mut policy, closed)
    }

    /// Whether there are tables of iptables-legacy, or were when the rules were read.
    fn has_legacy_rules(&self) -> bool {
        let mut policy = lock(&self.policy);
        let had = policy.host.has_legacy();
        policy.host.read_legacy() || had
    }

    /// Judges ports that are about to be published.
    pub(super) fn admit(&self, ports: &[PublishedPort]) -> Result<(), NetlinkError> {
        if !self.keeps_to_policy() {
            return Ok(());
        }
        let mut policy = lock(&self.policy);
        let had_legacy = policy.host.has_legacy();
        if policy.host.read_legacy() || had_legacy {
            policy.judged.clear();
        }
        let services = ports.iter().filter_map(Service::of);
        if policy.host.is_trivial() && policy.closed.is_empty() {
            return Ok(());
        }
        let new: Vec<_> = services.filter(|service| !policy.judged.contains(service)).collect();
        let judged = policy::closed(&policy.host, &self.settings.allowed_ports, new.iter().copied());
        let mut closed = policy.closed.clone();
        closed.retain(|service, _| !new.contains(service));
        closed.extend(judged);
        policy.judged.extend(new);
        self.enforce(&mut policy, closed)
    }

    /// Has the rules close exactly this.
    fn enforce(&self, policy: &mut Policy, closed: Closed) -> Result<(), NetlinkError> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        if policy.closed == closed {
            return Ok(());
        }
        lock(firewall).close(&policy.closed, &closed)?;
        policy.closed = closed;
        Ok(())
    }

    /// Makes the table again, where a foreign hand removed it.
    fn mend(&self, state: &State) -> Result<(), NetlinkError> {
        let Some(firewall) = &self.firewall else { return Ok(()) };
        let mut socket = Socket::open(Family::Netfilter)?;
        if nft::table_flags(&mut socket, &self.settings.table)?.is_some() {
            return Ok(());
        }
        tracing::warn!(table = self.settings.table, "the firewall table was removed, and is made again");
        {
            let mut policy = lock(&self.policy);
            policy.closed.clear();
            policy.judged.clear();
        }
        lock(firewall).renew()?;
        self.refresh_policy(state)?;
        self.reconcile(state)
    }
}

/// All ports that are published to other hosts.
fn published(state: &State) -> Vec<Service> {
    let ports = state.sandboxes.values().flat_map(|held| &held.record.ports);
    ports.filter_map(Service::of).collect()
}

impl NetworkManager {
    /// Which of these ports, once published, would be closed to other hosts by the host's firewall: a line for each, with
    /// what to do about it. Ports of the host that are not named yet are not judged.
    pub fn closed_ports(&self, mappings: &[PortMapping]) -> Vec<String> {
        let shared = &*self.shared;
        if !shared.keeps_to_policy() {
            return Vec::new();
        }
        if mappings.is_empty() {
            return Vec::new();
        }
        let mut policy = lock(&shared.policy);
        policy.host.read_legacy();
        if policy.host.is_trivial() {
            return Vec::new();
        }
        let mut lines = Vec::new();
        for mapping in mappings {
            let Some(ports) = &mapping.host_ports else { continue };
            if mapping.host_address.is_some_and(|address| address.is_loopback()) {
                continue;
            }
            let ipv6 = mapping.host_address.is_some_and(|address| address.is_ipv6());
            let service = Service { ipv6, protocol: mapping.protocol.number(), port: *ports.start() };
            let closed = policy::closed(&policy.host, &shared.settings.allowed_ports, [service]);
            let Some(region) = closed.get(&service) else { continue };
            let who = if region.is_empty() { "other hosts" } else { "some other hosts" };
            lines.push(format!(
                "Port {}/{} is published, but this host's firewall closes it to {who}. Open it there: {}",
                service.port,
                mapping.protocol,
                policy.host.remedy(service)
            ));
        }
        lines
    }
}

/// The thread that follows changes of nftables. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    end: OwnedFd,
    nudge: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts it in the calling thread's namespace.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let event = || rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let (end, nudge) = (event()?, event()?);
        let events = Events::open()?;
        let (ends, nudges) = (end.try_clone()?, nudge.try_clone()?);
        let shared = Arc::downgrade(shared);
        let thread = std::thread::Builder::new()
            .name("firewall-watch".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || watch(&shared, events, &ends, &nudges))?;
        Ok(Self { end, nudge, thread: Some(thread) })
    }

    /// Has it look again at what is published.
    pub(super) fn nudge(&self) {
        let _ = rustix::io::write(&self.nudge, &1_u64.to_ne_bytes());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = rustix::io::write(&self.end, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What became known of changes.
struct Told {
    /// A table that is not ours changed.
    foreign: bool,
    /// Ours was removed.
    gone: bool,
}

impl Told {
    fn read(&mut self, events: &mut Events, own: &str) -> io::Result<()> {
        let lost = events.drain(|message| match nft::changed(&message) {
            Change::Of(table) => self.foreign |= table != own,
            Change::Gone(table) => {
                self.gone |= table == own;
                self.foreign |= table != own;
            }
            Change::Nothing => {}
        })?;
        self.foreign |= lost;
        self.gone |= lost;
        Ok(())
    }
}

fn watch(shared: &Weak<Shared>, mut events: Events, end: &OwnedFd, nudge: &OwnedFd) {
    corten_sys::netlink::namespace::yield_to_callers();
    loop {
        let Some(strong) = shared.upgrade() else { return };
        // Tables of iptables-legacy tell nobody that they change, or that they came to be. What is published changes our
        // own table, and so comes by here.
        let looked_at = strong.keeps_to_policy() && !published(&lock(&strong.state)).is_empty();
        drop(strong);
        let timeout = looked_at.then_some(Timespec { tv_sec: LEGACY_INTERVAL, tv_nsec: 0 });
        let mut watched = [
            PollFd::new(&events, PollFlags::IN),
            PollFd::new(end, PollFlags::IN),
            PollFd::new(nudge, PollFlags::IN),
        ];
        let _ = poll(&mut watched, timeout.as_ref());
        if !watched[1].revents().is_empty() {
            return;
        }
        if !watched[2].revents().is_empty() {
            let _ = rustix::io::read(nudge, &mut [0; 8]);
            continue;
        }
        let timed_out = watched[0].revents().is_empty();
        let Some(strong) = shared.upgrade() else { return };
        let own = &strong.settings.table;
        let mut told = Told { foreign: timed_out && strong.has_legacy_rules(), gone: false };
        if let Err(error) = told.read(&mut events, own) {
            return tracing::warn!(%error, "changes of the firewall are not followed any more");
        }
        if !told.foreign && !told.gone {
            continue;
        }
        if !timed_out {
            std::thread::sleep(CALM);
            let _ = told.read(&mut events, own);
        }
        let Told { foreign, gone } = told;
        // Starts go on meanwhile. What changes after this is told again.
        let read = if foreign { strong.read_policy() } else { Ok(None) };
        let state = lock(&strong.state);
        if state.closing {
            return;
        }
        let mended = if gone { strong.mend(&state) } else { Ok(()) };
        let followed =
            mended.and(read).and_then(|host| host.map_or(Ok(()), |host| strong.judge(host, &state)));
        if let Err(error) = followed {
            tracing::warn!(error = %corten_std::chain(&error), "the host's firewall rules cannot be followed");
        }
    }
}
