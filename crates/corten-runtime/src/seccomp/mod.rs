//! System call filters: Docker's profiles, resolved for one container, compiled to a filter.
//!
//! A [`Profile`] is what users write (Docker's JSON form: rules that depend on capabilities, architectures
//! and the kernel). [`Profile::resolve`] makes the runtime document's plain rules of it. [`compile`] makes a
//! [`Program`]: a binary search over ranges of call numbers, so that a call costs some ten instructions
//! whatever the number of rules, and the kernel's own check of the filter at load time is short.
//!
//! Of several rules for one call the first whose conditions hold decides. Numbers above every call that the
//! profile names get "no such call" instead of "not permitted": a C library that tries a newer call falls
//! back as it should.

mod compiler;
mod default_profile;
mod profile;
mod program;
mod syscalls;

pub use compiler::{Architecture, CompileError, compile};
pub use default_profile::default_profile;
pub use profile::{ArchitectureMap, Filter, Profile, ProfileRule, ResolveContext};
pub use program::Program;

/// Every system call of this machine's architecture that we know, with its number.
pub fn system_calls() -> impl Iterator<Item = (&'static str, u32)> {
    let column = Architecture::native() as usize;
    syscalls::SYSCALLS
        .iter()
        .filter_map(move |(name, numbers)| Some((*name, u32::try_from(*numbers.get(column)?).ok()?)))
}

/// The default profile for a container with these capabilities on this machine, compiled. The same
/// capabilities give the same filter, so a caller keeps it.
pub fn compile_default(capabilities: &[String]) -> Result<Program, CompileError> {
    compile(&default_profile().resolve(&ResolveContext::of_this_machine(capabilities)))
}
