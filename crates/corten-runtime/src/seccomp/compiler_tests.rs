//! The compiler against a plain reading of the rules, over every call number, by running the filter.

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
        let mut jump = |holds: bool| at += usize::from(if holds { step.jump_true } else { step.jump_false });
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
        let numbers =
            |rule: &LinuxSyscall| rule.names.iter().filter_map(|name| architecture.number(name)).collect();
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

/// Compares filter and document over every number there is and some there are not, with arguments around
/// every value that the rules name.
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
    for call in
        ["mount", "bpf", "keyctl", "add_key", "reboot", "unshare", "setns", "io_uring_setup", "kexec_load"]
    {
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
    assert_eq!(Architecture::X32.number("execve"), Some(X32_BIT + 520));
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
