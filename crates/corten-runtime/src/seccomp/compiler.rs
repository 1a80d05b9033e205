//! From rules to a filter.
//!
//! ```text
//! load architecture ── x86-64 ──▶ load number ── below 2^30 ──▶ search (x86-64)
//!                  │                          └─ else ────────▶ search (x32)
//!                  ├─ i386 ────▶ load number ─────────────────▶ search (i386)
//!                  └─ any other ▶ kill
//! search: is the number at least M? ─ yes ▶ search upper half
//!                                   └ no ─▶ search lower half      until one range is left: its answer
//! ```

use std::collections::BTreeMap;

use corten_oci::runtime::{LinuxSeccomp, LinuxSeccompArg};
use corten_sys::seccomp::{Instruction, MAX_INSTRUCTIONS};

use super::program::Program;
use super::syscalls::SYSCALLS;

/// An architecture whose programs a machine may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    X86_64,
    /// 32-bit x86.
    X86,
    /// x86-64 with short pointers.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

/// Numbers of x32 calls carry this bit.
const X32_BIT: u32 = 1 << 30;

impl Architecture {
    const ALL: [Self; 5] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm];

    /// The one this program is built for.
    pub fn native() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// The name in profiles and documents.
    pub fn scmp_name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The kernel's `AUDIT_ARCH_…`, by which a filter sees it.
    fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        }
    }

    /// The number of a call, as a filter sees it.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let at = SYSCALLS.binary_search_by_key(&name, |(known, _)| known).ok()?;
        let number = u32::try_from(SYSCALLS[at].1[self.column()]).ok()?;
        Some(if self == Self::X32 { number | X32_BIT } else { number })
    }
}

/// A filter that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A word that names nothing.
    #[error("unknown {what} in the seccomp profile: {word}")]
    Unknown {
        /// What it should have named.
        what: &'static str,
        /// The word.
        word: String,
    },
    /// An agent would have to be asked.
    #[error(
        "the seccomp profile asks an agent about calls (SCMP_ACT_NOTIFY), and none can be named: use another action"
    )]
    Notify,
    /// An argument that calls do not have.
    #[error("a seccomp rule for {call} tests argument {index}; there are 0 to 5")]
    Argument {
        /// The call.
        call: String,
        /// The argument.
        index: u32,
    },
    /// Longer than the kernel takes.
    #[error("the seccomp profile compiles to {0} instructions; the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong(usize),
    /// One call has more conditions than a jump can skip.
    #[error("the seccomp rule for {0} has too many conditions")]
    TooManyConditions(String),
}

impl corten_std::Classified for CompileError {
    fn class(&self) -> corten_std::ErrorClass {
        corten_std::ErrorClass::InvalidParameter
    }
}

type Result<T> = std::result::Result<T, CompileError>;

const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// Compiles the plain rules of a document. Names that an architecture does not have are passed over there.
pub fn compile(document: &LinuxSeccomp) -> Result<Program> {
    let rules = Rules::parse(document)?;
    let mut sections = Vec::new();
    for architecture in &rules.architectures {
        if *architecture == Architecture::X32 {
            continue;
        }
        let mut code = vec![load(NUMBER)];
        if *architecture == Architecture::X86_64 {
            // Without x32 in the document its calls are those of a foreign architecture.
            let x32 = if rules.architectures.contains(&Architecture::X32) {
                search(&rules.ranges(Architecture::X32))?
            } else {
                vec![answer(KILL_PROCESS)]
            };
            let own = search(&rules.ranges(Architecture::X86_64))?;
            code.extend(branch(JUMP_AT_LEAST, X32_BIT, own, x32));
        } else {
            code.extend(search(&rules.ranges(*architecture))?);
        }
        sections.push((architecture.audit(), code));
    }
    let mut tail = vec![answer(KILL_PROCESS)];
    for (audit, code) in sections.into_iter().rev() {
        tail = branch(JUMP_EQUAL, audit, tail, code);
    }
    let mut instructions = vec![load(ARCHITECTURE)];
    instructions.extend(tail);
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(instructions.len()));
    }
    Ok(Program { instructions, log: rules.log, allow_speculation: rules.allow_speculation })
}

/// One condition on an argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Condition {
    pub(super) index: u32,
    pub(super) comparison: Comparison,
    pub(super) value: u64,
    /// The mask of [`Comparison::Masked`].
    pub(super) mask: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Comparison {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    Masked,
}

/// What happens to one call: alternatives in order, the last without conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict(pub(super) Vec<(Vec<Condition>, u32)>);

/// Rules, read and checked.
pub(super) struct Rules {
    default: u32,
    pub(super) architectures: Vec<Architecture>,
    /// Call name to alternatives in order.
    calls: BTreeMap<String, Vec<(Vec<Condition>, u32)>>,
    log: bool,
    allow_speculation: bool,
}

impl Rules {
    pub(super) fn parse(document: &LinuxSeccomp) -> Result<Self> {
        let mut architectures = Vec::new();
        for name in &document.architectures {
            // Architectures that this build knows nothing of cannot run here.
            if let Some(known) = Architecture::ALL.into_iter().find(|known| known.scmp_name() == name)
                && !architectures.contains(&known)
            {
                architectures.push(known);
            }
        }
        if !architectures.contains(&Architecture::native()) {
            architectures.insert(0, Architecture::native());
        }
        let mut calls: BTreeMap<String, Vec<(Vec<Condition>, u32)>> = BTreeMap::new();
        for rule in &document.syscalls {
            let action = action(&rule.action, rule.errno_ret)?;
            for name in &rule.names {
                calls.entry(name.clone()).or_default().extend(
                    alternatives(name, &rule.args)?.into_iter().map(|conditions| (conditions, action)),
                );
            }
        }
        let mut rules = Self {
            default: action(&document.default_action, document.default_errno_ret)?,
            architectures,
            calls,
            log: false,
            allow_speculation: false,
        };
        for flag in &document.flags {
            match flag.as_str() {
                "SECCOMP_FILTER_FLAG_LOG" => rules.log = true,
                "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => rules.allow_speculation = true,
                // One thread: nothing to bring into step.
                "SECCOMP_FILTER_FLAG_TSYNC" => {}
                other => return Err(CompileError::Unknown { what: "flag", word: other.to_owned() }),
            }
        }
        Ok(rules)
    }

    fn verdict(&self, alternatives: &[(Vec<Condition>, u32)]) -> Verdict {
        let end = alternatives.iter().position(|(conditions, _)| conditions.is_empty());
        let mut list = alternatives[..end.map_or(alternatives.len(), |end| end + 1)].to_vec();
        if end.is_none() {
            list.push((Vec::new(), self.default));
        }
        // Conditions whose answer is that of all the rest decide nothing.
        while list.len() > 1 && list[list.len() - 2].1 == list[list.len() - 1].1 {
            list.remove(list.len() - 2);
        }
        Verdict(list)
    }

    /// Every number from 0 to the largest, as ranges with one verdict each: where it begins, and what
    /// happens.
    pub(super) fn ranges(&self, architecture: Architecture) -> Vec<(u32, Verdict)> {
        let default = Verdict(vec![(Vec::new(), self.default)]);
        let numbers: BTreeMap<u32, Verdict> = self
            .calls
            .iter()
            .filter_map(|(name, list)| Some((architecture.number(name)?, self.verdict(list))))
            .collect();
        let mut ranges: Vec<(u32, Verdict)> = vec![(0, default.clone())];
        let mut push = |start: u32, verdict: Verdict| {
            if let Some(last) = ranges.last_mut() {
                if last.0 == start {
                    last.1 = verdict;
                } else if last.1 != verdict {
                    ranges.push((start, verdict));
                }
            }
        };
        for (number, verdict) in &numbers {
            push(*number, verdict.clone());
            if !numbers.contains_key(&(number + 1)) {
                push(number + 1, default.clone());
            }
        }
        // A profile that refuses what it does not name was written when the calls above did not exist.
        let refuses = !matches!(self.default, ALLOW | LOG) && self.default & 0x7fff_0000 != TRACE;
        if refuses && let Some((largest, _)) = numbers.last_key_value() {
            push(largest + 1, Verdict(vec![(Vec::new(), ERRNO | ENOSYS)]));
        }
        let mut merged: Vec<(u32, Verdict)> = Vec::with_capacity(ranges.len());
        for (start, verdict) in ranges {
            if merged.last().is_none_or(|(_, last)| *last != verdict) {
                merged.push((start, verdict));
            }
        }
        merged
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<u32> {
    let errno = errno.unwrap_or(EPERM) & 0xffff;
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_TRAP" => TRAP,
        "SCMP_ACT_ERRNO" => ERRNO | errno,
        "SCMP_ACT_TRACE" => TRACE | errno,
        "SCMP_ACT_LOG" => LOG,
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_NOTIFY" => return Err(CompileError::Notify),
        other => return Err(CompileError::Unknown { what: "action", word: other.to_owned() }),
    })
}

/// All conditions together – unless one argument is tested twice: then each stands alone, as runc reads it.
fn alternatives(call: &str, arguments: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>> {
    let conditions: Vec<Condition> =
        arguments.iter().map(|argument| condition(call, argument)).collect::<Result<_>>()?;
    let twice = conditions
        .iter()
        .enumerate()
        .any(|(at, one)| conditions[..at].iter().any(|other| other.index == one.index));
    Ok(if twice { conditions.into_iter().map(|one| vec![one]).collect() } else { vec![conditions] })
}

fn condition(call: &str, argument: &LinuxSeccompArg) -> Result<Condition> {
    if argument.index > 5 {
        return Err(CompileError::Argument { call: call.to_owned(), index: argument.index });
    }
    let (mut value, mut mask) = (argument.value, u64::MAX);
    let comparison = match argument.op.as_str() {
        "SCMP_CMP_NE" => Comparison::NotEqual,
        "SCMP_CMP_LT" => Comparison::Less,
        "SCMP_CMP_LE" => Comparison::LessOrEqual,
        "SCMP_CMP_EQ" => Comparison::Equal,
        "SCMP_CMP_GE" => Comparison::GreaterOrEqual,
        "SCMP_CMP_GT" => Comparison::Greater,
        "SCMP_CMP_MASKED_EQ" => {
            (value, mask) = (argument.value_two, argument.value);
            Comparison::Masked
        }
        other => return Err(CompileError::Unknown { what: "comparison", word: other.to_owned() }),
    };
    Ok(Condition { index: argument.index, comparison, value, mask })
}

// Operations of classic BPF.
pub(super) const LOAD: u16 = 0x20; // a word of the call's description
pub(super) const RETURN: u16 = 0x06;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_ABOVE: u16 = 0x25;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const AND: u16 = 0x54;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

fn instruction(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

fn load(offset: u32) -> Instruction {
    instruction(LOAD, offset, 0, 0)
}

fn answer(action: u32) -> Instruction {
    instruction(RETURN, action, 0, 0)
}

/// `if A code operand then upper else lower`; both parts end by themselves.
fn branch(code: u16, operand: u32, lower: Vec<Instruction>, upper: Vec<Instruction>) -> Vec<Instruction> {
    let mut result = Vec::with_capacity(lower.len() + upper.len() + 2);
    if let Ok(distance) = u8::try_from(lower.len()) {
        result.push(instruction(code, operand, distance, 0));
    } else {
        // A conditional jump reaches 255 instructions, an unconditional one any number.
        result.push(instruction(code, operand, 0, 1));
        result.push(instruction(JUMP, lower.len() as u32, 0, 0));
    }
    result.extend(lower);
    result.extend(upper);
    result
}

/// A binary search; the number is in the accumulator.
fn search(ranges: &[(u32, Verdict)]) -> Result<Vec<Instruction>> {
    if let [(_, verdict)] = ranges {
        return decide(verdict);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    Ok(branch(JUMP_AT_LEAST, upper[0].0, search(lower)?, search(upper)?))
}

/// The alternatives one after the other; each ends, or goes on to the next where a condition fails.
fn decide(verdict: &Verdict) -> Result<Vec<Instruction>> {
    let mut code = Vec::new();
    for (conditions, action) in &verdict.0 {
        let mut block = Vec::new();
        let mut failing = Vec::new();
        for condition in conditions {
            test(condition, &mut block, &mut failing);
        }
        block.push(answer(*action));
        for (at, when) in failing {
            let distance = u8::try_from(block.len() - at - 1)
                .map_err(|_| CompileError::TooManyConditions(format!("{conditions:?}")))?;
            match when {
                When::True => block[at].jump_true = distance,
                When::False => block[at].jump_false = distance,
            }
        }
        code.extend(block);
    }
    Ok(code)
}

/// Which outcome of a jump means that the condition fails.
#[derive(Clone, Copy)]
enum When {
    True,
    False,
}

/// Tests one 64-bit argument by its halves. Falls through where the condition holds; jumps that fail are
/// listed to be aimed later.
fn test(condition: &Condition, block: &mut Vec<Instruction>, failing: &mut Vec<(usize, When)>) {
    let low_offset = ARGUMENTS + 8 * condition.index;
    let (low_offset, high_offset) =
        if cfg!(target_endian = "big") { (low_offset + 4, low_offset) } else { (low_offset, low_offset + 4) };
    let (low, high) = (condition.value as u32, (condition.value >> 32) as u32);
    let (mask_low, mask_high) = (condition.mask as u32, (condition.mask >> 32) as u32);
    let mut fail = |block: &mut Vec<Instruction>, code, operand, when| {
        failing.push((block.len(), when));
        block.push(instruction(code, operand, 0, 0));
    };
    match condition.comparison {
        Comparison::Equal => {
            block.push(load(low_offset));
            fail(block, JUMP_EQUAL, low, When::False);
            block.push(load(high_offset));
            fail(block, JUMP_EQUAL, high, When::False);
        }
        Comparison::NotEqual => {
            block.push(load(low_offset));
            // A different low half is enough: over the two instructions for the high one.
            block.push(instruction(JUMP_EQUAL, low, 0, 2));
            block.push(load(high_offset));
            fail(block, JUMP_EQUAL, high, When::True);
        }
        Comparison::Masked => {
            for (offset, mask, value) in [(low_offset, mask_low, low), (high_offset, mask_high, high)] {
                if mask == 0 && value == 0 {
                    continue;
                }
                block.push(load(offset));
                block.push(instruction(AND, mask, 0, 0));
                fail(block, JUMP_EQUAL, value, When::False);
            }
        }
        Comparison::Greater | Comparison::GreaterOrEqual => {
            let last = if condition.comparison == Comparison::Greater { JUMP_ABOVE } else { JUMP_AT_LEAST };
            block.push(load(high_offset));
            block.push(instruction(JUMP_ABOVE, high, 3, 0));
            fail(block, JUMP_EQUAL, high, When::False);
            block.push(load(low_offset));
            fail(block, last, low, When::False);
        }
        Comparison::Less | Comparison::LessOrEqual => {
            let last = if condition.comparison == Comparison::Less { JUMP_AT_LEAST } else { JUMP_ABOVE };
            block.push(load(high_offset));
            fail(block, JUMP_ABOVE, high, When::True);
            block.push(instruction(JUMP_EQUAL, high, 0, 2));
            block.push(load(low_offset));
            fail(block, last, low, When::True);
        }
    }
}

#[cfg(test)]
#[path = "compiler_tests.rs"]
mod tests;
