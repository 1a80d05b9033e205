//! Loading of seccomp filters.

use std::io;

/// One instruction of classic BPF, as the kernel reads it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// How many instructions to skip where a comparison holds.
    pub jump_true: u8,
    /// How many to skip where it does not.
    pub jump_false: u8,
    /// Operand.
    pub operand: u32,
}

/// How a filter is loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadFlags {
    /// Actions other than "allow" are logged (`SECCOMP_FILTER_FLAG_LOG`).
    pub log: bool,
    /// The speculative store bypass mitigation is left alone (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`).
    pub allow_speculation: bool,
}

#[repr(C)]
struct Program {
    length: u16,
    filter: *const Instruction,
}

/// The longest filter that the kernel takes.
pub const MAX_INSTRUCTIONS: usize = 4096;

/// Puts a filter on the calling thread, for good. Needs no-new-privileges or `CAP_SYS_ADMIN`.
///
/// # Errors
/// `InvalidInput` for an empty or too long filter; else what the kernel says.
pub fn load(filter: &[Instruction], flags: LoadFlags) -> io::Result<()> {
    const SECCOMP_SET_MODE_FILTER: libc::c_long = 1;
    if filter.is_empty() || filter.len() > MAX_INSTRUCTIONS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let program = Program { length: filter.len() as u16, filter: filter.as_ptr() };
    let mut bits: libc::c_ulong = 0;
    if flags.log {
        bits |= libc::SECCOMP_FILTER_FLAG_LOG;
    }
    if flags.allow_speculation {
        bits |= libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    }
    // SAFETY: pointer and length describe `filter`, whose layout is the kernel's `struct sock_filter`; the
    // kernel checks the program before it takes it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, bits, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this kernel has seccomp filters.
pub fn available() -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_long = 2;
    const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;
    let action: u32 = SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one 32-bit number, which outlives the call.
    unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}
