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

    /// Every number from 0 to the largest, as ranges with one verdict each: where it begins, and what happens.
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

/// Tests one 64-bit argument by its halves. Falls through where the condition holds; jumps that fail are listed to be
/// aimed later.
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
mod tests {
    use corten_oci::runtime::LinuxSyscall;

    use super::super::default_profile::default_profile;
    use super::super::profile::ResolveContext;
    use super::*;

    /// One call as a filter sees it.
    #[derive(Clone, Copy)]
    struct Call {
        audit: u32,
        number: u32,
        arguments: [u64; 6],
    }

    impl Call {
        fn word(self, offset: u32) -> u32 {
            match offset {
                NUMBER => self.number,
                ARCHITECTURE => self.audit,
                offset => {
                    let argument = self.arguments[(offset - ARGUMENTS) as usize / 8];
                    if offset % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
                }
            }
        }
    }

    /// Runs a filter as the kernel does: the answer and how many instructions it took.
    fn run(program: &[Instruction], call: Call) -> (u32, usize) {
        let (mut accumulator, mut at, mut steps) = (0, 0, 0);
        loop {
            let step = program[at];
            at += 1;
            steps += 1;
            let mut jump =
                |holds: bool| at += usize::from(if holds { step.jump_true } else { step.jump_false });
            match step.code {
                LOAD => accumulator = call.word(step.operand),
                RETURN => return (step.operand, steps),
                JUMP => at += step.operand as usize,
                JUMP_EQUAL => jump(accumulator == step.operand),
                JUMP_ABOVE => jump(accumulator > step.operand),
                JUMP_AT_LEAST => jump(accumulator >= step.operand),
                AND => accumulator &= step.operand,
                other => panic!("unknown operation {other:x}"),
            }
        }
    }

    /// What a document says for one architecture, read rule by rule.
    struct Naive<'a> {
        rules: Vec<(Vec<u32>, &'a LinuxSyscall)>,
        default: u32,
    }

    impl<'a> Naive<'a> {
        fn new(document: &'a LinuxSeccomp, architecture: Architecture) -> Self {
            let numbers = |rule: &LinuxSyscall| {
                rule.names.iter().filter_map(|name| architecture.number(name)).collect()
            };
            Self {
                rules: document.syscalls.iter().map(|rule| (numbers(rule), rule)).collect(),
                default: action(&document.default_action, document.default_errno_ret).unwrap(),
            }
        }

        fn answer(&self, call: Call) -> u32 {
            for (numbers, rule) in &self.rules {
                if !numbers.contains(&call.number) {
                    continue;
                }
                let holds = |argument: &LinuxSeccompArg| {
                    let actual = call.arguments[argument.index as usize];
                    match argument.op.as_str() {
                        "SCMP_CMP_NE" => actual != argument.value,
                        "SCMP_CMP_LT" => actual < argument.value,
                        "SCMP_CMP_LE" => actual <= argument.value,
                        "SCMP_CMP_EQ" => actual == argument.value,
                        "SCMP_CMP_GE" => actual >= argument.value,
                        "SCMP_CMP_GT" => actual > argument.value,
                        "SCMP_CMP_MASKED_EQ" => actual & argument.value == argument.value_two,
                        other => panic!("{other}"),
                    }
                };
                let mut indexes: Vec<u32> = rule.args.iter().map(|argument| argument.index).collect();
                indexes.sort_unstable();
                indexes.dedup();
                let fits = if indexes.len() < rule.args.len() {
                    rule.args.iter().any(holds)
                } else {
                    rule.args.iter().all(holds)
                };
                if fits {
                    return action(&rule.action, rule.errno_ret).unwrap();
                }
            }
            let largest = self.rules.iter().flat_map(|(numbers, _)| numbers).max();
            if self.default & 0xffff_0000 == ERRNO && largest.is_some_and(|largest| call.number > *largest) {
                return ERRNO | ENOSYS;
            }
            self.default
        }
    }

    /// Compares filter and document over every number there is and some there are not, with arguments around every value
    /// that the rules name.
    fn compare(document: &LinuxSeccomp) {
        let program = match compile(document) {
            // A generated profile may be beyond what the kernel takes; then there is nothing to compare.
            Err(CompileError::TooLong(_)) => return,
            result => result.unwrap(),
        };
        let rules = Rules::parse(document).unwrap();
        let mut values = vec![0, 1, u64::from(u32::MAX), u64::MAX, 1 << 32, 1 << 63];
        for argument in document.syscalls.iter().flat_map(|rule| &rule.args) {
            for value in [argument.value, argument.value_two] {
                values.extend([value, value.wrapping_add(1), value.wrapping_sub(1), value | 1 << 32, !value]);
            }
        }
        values.sort_unstable();
        values.dedup();
        for architecture in rules.architectures {
            let naive = Naive::new(document, architecture);
            let base = if architecture == Architecture::X32 { X32_BIT } else { 0 };
            for number in (base..base + 600).chain([base + 100_000, 0xf_0001, 0xf_0002, 0xf_0006]) {
                if number < base || (architecture == Architecture::X86_64 && number >= X32_BIT) {
                    continue;
                }
                for value in &values {
                    let call = Call { audit: architecture.audit(), number, arguments: [*value; 6] };
                    let (found, steps) = run(&program.instructions, call);
                    assert_eq!(found, naive.answer(call), "{architecture:?} call {number} with {value:#x}");
                    assert!(steps < 60, "{steps} steps");
                }
            }
        }
        let foreign = Call { audit: 0x1234_5678, number: 0, arguments: [0; 6] };
        assert_eq!(run(&program.instructions, foreign).0, KILL_PROCESS);
    }

    fn default_document(capabilities: &[&str], architecture: Architecture) -> LinuxSeccomp {
        let capabilities: Vec<String> = capabilities.iter().map(|&name| name.to_owned()).collect();
        let context = ResolveContext { capabilities: &capabilities, architecture, kernel: (6, 1) };
        default_profile().resolve(&context)
    }

    #[test]
    fn the_default_profile_decides_as_written() {
        compare(&default_document(&[], Architecture::X86_64));
        compare(&default_document(&["CAP_SYS_ADMIN", "CAP_BPF"], Architecture::X86_64));
        compare(&default_document(&["CAP_SYS_PTRACE"], Architecture::Aarch64));
    }

    #[test]
    fn the_default_filter_is_short() {
        let program = compile(&default_document(&[], Architecture::X86_64)).unwrap();
        assert!(program.instructions.len() < 800, "{} instructions", program.instructions.len());
    }

    #[track_caller]
    fn answer_of(capabilities: &[&str], call: &str, arguments: [u64; 6]) -> u32 {
        let program = compile(&default_document(capabilities, Architecture::X86_64)).unwrap();
        let number = Architecture::X86_64.number(call).unwrap();
        run(&program.instructions, Call { audit: Architecture::X86_64.audit(), number, arguments }).0
    }

    #[test]
    fn dangerous_calls_are_refused() {
        let none = [0; 6];
        assert_eq!(answer_of(&[], "read", none), ALLOW);
        for call in [
            "mount",
            "bpf",
            "keyctl",
            "add_key",
            "reboot",
            "unshare",
            "setns",
            "io_uring_setup",
            "kexec_load",
        ] {
            assert_eq!(answer_of(&[], call, none), ERRNO | EPERM, "{call}");
        }
        assert_eq!(answer_of(&["CAP_SYS_ADMIN"], "mount", none), ALLOW);
        assert_eq!(answer_of(&[], "clone3", none), ERRNO | ENOSYS);
        assert_eq!(answer_of(&["CAP_SYS_ADMIN"], "clone3", none), ALLOW);
        // A thread, and a user namespace.
        assert_eq!(answer_of(&[], "clone", [0x003d_0f00, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(answer_of(&[], "clone", [0x1000_0011, 0, 0, 0, 0, 0]), ERRNO | EPERM);
        // An ordinary socket, and one to the hypervisor.
        assert_eq!(answer_of(&[], "socket", [2, 1, 0, 0, 0, 0]), ALLOW);
        assert_eq!(answer_of(&[], "socket", [40, 1, 0, 0, 0, 0]), ERRNO | EPERM);
    }

    #[test]
    fn the_table_is_sorted_for_searching() {
        assert!(SYSCALLS.is_sorted_by(|one, other| one.0 < other.0));
        assert_eq!(Architecture::X86_64.number("execve"), Some(59));
        assert_eq!(Architecture::Aarch64.number("execve"), Some(221));
        assert_eq!(Architecture::X32.number("execve"), Some(520 | X32_BIT));
    }

    mod generated {
        use proptest::prelude::*;

        use super::*;

        const OPERATIONS: [&str; 7] = [
            "SCMP_CMP_NE",
            "SCMP_CMP_LT",
            "SCMP_CMP_LE",
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_MASKED_EQ",
        ];

        fn argument() -> impl Strategy<Value = LinuxSeccompArg> {
            let value = prop_oneof![0..4_u64, Just(1 << 32), Just(u64::MAX), any::<u64>()];
            (0..6_u32, value.clone(), value, 0..OPERATIONS.len()).prop_map(|(index, value, value_two, op)| {
                LinuxSeccompArg { index, value, value_two, op: OPERATIONS[op].to_owned() }
            })
        }

        fn rule() -> impl Strategy<Value = LinuxSyscall> {
            let names = proptest::collection::vec(0..SYSCALLS.len(), 1..40);
            let actions =
                prop_oneof![Just("SCMP_ACT_ALLOW"), Just("SCMP_ACT_ERRNO"), Just("SCMP_ACT_KILL_PROCESS")];
            let arguments = proptest::collection::vec(argument(), 0..3);
            (names, actions, proptest::option::of(1..40_u32), arguments).prop_map(
                |(names, action, errno_ret, args)| LinuxSyscall {
                    names: names.into_iter().map(|at| SYSCALLS[at].0.to_owned()).collect(),
                    action: action.to_owned(),
                    errno_ret,
                    args,
                },
            )
        }

        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
            #[test]
            fn any_profile_decides_as_written(
                syscalls in proptest::collection::vec(rule(), 0..12),
                default in prop_oneof![Just("SCMP_ACT_ERRNO"), Just("SCMP_ACT_ALLOW")],
            ) {
                compare(&LinuxSeccomp {
                    default_action: default.to_owned(),
                    architectures: vec!["SCMP_ARCH_X86_64".into(), "SCMP_ARCH_X86".into(), "SCMP_ARCH_X32".into()],
                    syscalls,
                    ..LinuxSeccomp::default()
                });
            }
        }
    }
}
