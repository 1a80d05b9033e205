//! From the start request and its descriptors to what the role works with: the one place where wire documents
//! become internal structs.

use crate::control::failure;
use crate::packet;
use crate::protocol::{
    AttachRequest, DescriptorRole, Failure, FailureCode, OLDEST_VERSION, StartRequest, VERSION,
};
use corten_runtime::cgroup::CgroupHandle;
use corten_runtime::{Hardening, LaunchError, seccomp};
use std::os::fd::OwnedFd;

/// A start whose descriptors have found their places.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) request: StartRequest,
    /// The first connection.
    pub(crate) control: Option<OwnedFd>,
    pub(crate) parts: LaunchParts,
    pub(crate) attach: Vec<(AttachRequest, OwnedFd)>,
    pub(crate) keep: Vec<(String, OwnedFd)>,
    pub(crate) seccomp: Option<seccomp::Program>,
    pub(crate) hardening: Hardening,
    /// For execs, and for the number of processes killed for want of memory.
    pub(crate) cgroup: CgroupHandle,
}

/// What is used up by the launch.
#[derive(Debug)]
pub(crate) struct LaunchParts {
    pub(crate) root: OwnedFd,
    pub(crate) mount_trees: Vec<(usize, OwnedFd)>,
    pub(crate) network_namespace: Option<OwnedFd>,
    pub(crate) user_namespace: Option<OwnedFd>,
    pub(crate) devices: Vec<(String, OwnedFd)>,
    pub(crate) init: Option<OwnedFd>,
    pub(crate) cgroup: CgroupHandle,
    /// For another runtime's program.
    pub(crate) host: Option<HostView>,
}

impl LaunchParts {
    /// Takes the host's view out.
    pub(crate) fn host_view(mut self) -> Result<(Self, HostView), Failure> {
        let host = self.host.take().ok_or_else(|| invalid("the host's mount namespace is missing"))?;
        Ok((self, host))
    }
}

/// A mount namespace with what is the root there.
#[derive(Debug)]
pub(crate) struct HostView {
    pub(crate) namespace: OwnedFd,
    pub(crate) root: OwnedFd,
}

/// A start that cannot even be tried, and the connection to tell it on.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) control: Option<OwnedFd>,
    pub(crate) failure: Failure,
}

/// Reads a request.
pub(crate) fn read(document: &[u8], mut descriptors: Vec<OwnedFd>) -> Result<Start, Refused> {
    let mut request: StartRequest = match serde_json::from_slice(document) {
        Ok(request) => request,
        Err(error) => {
            // The connection is the first descriptor in every version.
            let control = descriptors.into_iter().next();
            return Err(Refused {
                control,
                failure: invalid(&format!("the start request cannot be read: {error}")),
            });
        }
    };
    let mut control = None;
    let mut root = None;
    let mut mount_trees = Vec::new();
    let mut network_namespace = None;
    let mut user_namespace = None;
    let mut devices = Vec::new();
    let mut init = None;
    let (mut host_namespace, mut host_root) = (None, None);
    let mut cgroup = Vec::new();
    let mut program = None;
    let mut clients = Vec::new();
    let mut keep: Vec<(String, OwnedFd)> = Vec::new();
    // The keeper's witness: as long as it is open, the shim exists.
    let surplus = descriptors.split_off(descriptors.len().min(request.descriptors.len()));
    keep.extend(surplus.into_iter().map(|descriptor| (String::new(), descriptor)));
    let missing = descriptors.len() < request.descriptors.len();
    for (role, descriptor) in std::mem::take(&mut request.descriptors).into_iter().zip(descriptors) {
        match role {
            DescriptorRole::Control => control = Some(descriptor),
            DescriptorRole::Root => root = Some(descriptor),
            DescriptorRole::Mount { index } => mount_trees.push((index, descriptor)),
            DescriptorRole::NetworkNamespace => network_namespace = Some(descriptor),
            DescriptorRole::UserNamespace => user_namespace = Some(descriptor),
            DescriptorRole::Device { path } => devices.push((path, descriptor)),
            DescriptorRole::Cgroup => cgroup.push(descriptor),
            DescriptorRole::Seccomp => program = Some(descriptor),
            DescriptorRole::Init => init = Some(descriptor),
            DescriptorRole::HostNamespace => host_namespace = Some(descriptor),
            DescriptorRole::HostRoot => host_root = Some(descriptor),
            DescriptorRole::Attach { index } => clients.push((index, descriptor)),
            DescriptorRole::Keep { name } => keep.push((name, descriptor)),
            DescriptorRole::Unknown => {}
        }
    }
    let check = || {
        if request.version < OLDEST_VERSION || request.version > VERSION {
            let text =
                format!("the shim speaks versions {OLDEST_VERSION} to {VERSION}, not {}", request.version);
            return Err(failure(FailureCode::Unsupported, text));
        }
        if missing {
            return Err(invalid("a descriptor of the start request is missing"));
        }
        let root = root.ok_or_else(|| invalid("the root's descriptor is missing"))?;
        let cgroup = CgroupHandle::from_parts(&request.cgroup, cgroup)
            .ok_or_else(|| invalid("the cgroup's descriptors are not those announced"))?;
        let kept = cgroup
            .for_exec()
            .map_err(|error| failure(FailureCode::System, format!("cannot copy a descriptor: {error}")))?;
        let seccomp = program.map(read_program).transpose()?;
        let host = host_namespace.zip(host_root).map(|(namespace, root)| HostView { namespace, root });
        let parts =
            LaunchParts { root, mount_trees, network_namespace, user_namespace, devices, init, cgroup, host };
        Ok((parts, kept, seccomp))
    };
    match check() {
        Err(failure) => Err(Refused { control, failure }),
        Ok((parts, cgroup, seccomp)) => {
            let requests = std::mem::take(&mut request.attach);
            let attach = clients
                .into_iter()
                .filter_map(|(index, client)| Some((requests.get(index)?.clone(), client)))
                .collect();
            let hardening = request.hardening.clone();
            Ok(Start { request, control, parts, attach, keep, seccomp, hardening, cgroup })
        }
    }
}

fn read_program(file: OwnedFd) -> Result<seccomp::Program, Failure> {
    let bytes = packet::read_memory_file(file)
        .map_err(|error| failure(FailureCode::System, format!("cannot read the seccomp program: {error}")))?;
    seccomp::Program::from_bytes(&bytes).ok_or_else(|| invalid("the seccomp program is damaged"))
}

fn invalid(text: &str) -> Failure {
    failure(FailureCode::Invalid, text)
}

/// The runtime's error as it goes over the wire.
pub(crate) fn launch_failure(error: &LaunchError) -> Failure {
    Failure {
        code: FailureCode::Launch,
        message: error.message.clone(),
        launch: serde_json::to_value(error).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rubbish_is_refused(document: Vec<u8>) {
            prop_assert!(read(&document, Vec::new()).is_err());
        }
    }
}
