//! Which devices a container may use: rules to lines of version 1, or to an eBPF program for version 2.

use corten_oci::runtime::LinuxDeviceCgroup;
use corten_sys::bpf::Instruction;

/// Kinds of access as the kernel's bits.
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
/// Kinds of device as the kernel's numbers.
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

/// Whether the rules allow everything, so that nothing needs to be set.
pub(super) fn allow_all(rules: &[LinuxDeviceCgroup]) -> bool {
    rules.last().is_none_or(|rule| rule.allow && is_everything(rule))
}

fn is_everything(rule: &LinuxDeviceCgroup) -> bool {
    matches!(rule.kind.as_deref(), None | Some("a" | ""))
        && number(rule.major).is_none()
        && number(rule.minor).is_none()
}

/// -1 and absent both mean "all".
fn number(value: Option<i64>) -> Option<i64> {
    value.filter(|value| *value >= 0)
}

/// What is written to `devices.allow` (`true`) or `devices.deny` (`false`), in order.
pub(super) fn legacy_lines(rules: &[LinuxDeviceCgroup]) -> Vec<(bool, String)> {
    let part = |value: Option<i64>| number(value).map_or_else(|| "*".to_owned(), |value| value.to_string());
    rules
        .iter()
        .map(|rule| {
            let kind = rule.kind.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("a");
            let access = rule.access.as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
            (rule.allow, format!("{kind} {}:{} {access}", part(rule.major), part(rule.minor)))
        })
        .collect()
}

/// A program that gives the answer of the last rule which fits; nothing fits: denied.
///
/// The kernel calls it with register 1 pointing to three numbers: access and kind (high and low half), major,
/// minor. It has to return 1 to allow.
pub(super) fn program(rules: &[LinuxDeviceCgroup]) -> Vec<Instruction> {
    // Loads: r2 = kind, r3 = access, r4 = major, r5 = minor.
    let mut code = vec![
        load(2, 1, 0),
        alu_immediate(AND, 2, 0xffff),
        load(3, 1, 0),
        alu_immediate(SHIFT_RIGHT, 3, 16),
        load(4, 1, 4),
        load(5, 1, 8),
    ];
    // Later rules win, so the last is asked first.
    for rule in rules.iter().rev() {
        let mut tests = Vec::new();
        match rule.kind.as_deref() {
            Some("b") => tests.push(jump_unless_equal(2, BLOCK)),
            Some("c" | "u") => tests.push(jump_unless_equal(2, CHARACTER)),
            _ => {}
        }
        let access = access_bits(rule.access.as_deref());
        if access != MAKE | READ | WRITE {
            // r1 is free now: the asked access without the rule's must be nothing.
            tests.push(move_register(1, 3));
            tests.push(alu_immediate(AND, 1, !access as i32));
            tests.push(jump_unless_equal(1, 0));
        }
        if let Some(major) = number(rule.major) {
            tests.push(jump_unless_equal(4, major as i32));
        }
        if let Some(minor) = number(rule.minor) {
            tests.push(jump_unless_equal(5, minor as i32));
        }
        let everything = tests.is_empty();
        let length = tests.len();
        for (at, mut instruction) in tests.into_iter().enumerate() {
            if instruction.code == JUMP_NOT_EQUAL {
                // Over the rest of the tests and the two instructions of the answer.
                instruction.offset = (length - at - 1 + 2) as i16;
            }
            code.push(instruction);
        }
        code.push(move_immediate(0, i32::from(rule.allow)));
        code.push(EXIT);
        if everything {
            return code;
        }
    }
    code.push(move_immediate(0, 0));
    code.push(EXIT);
    code
}

fn access_bits(access: Option<&str>) -> u32 {
    match access {
        None | Some("") => MAKE | READ | WRITE,
        Some(letters) => letters.chars().fold(0, |bits, letter| {
            bits | match letter {
                'm' => MAKE,
                'r' => READ,
                'w' => WRITE,
                _ => 0,
            }
        }),
    }
}

const AND: u8 = 0x54; // 32-bit, immediate
const SHIFT_RIGHT: u8 = 0x74; // 32-bit, immediate
const JUMP_NOT_EQUAL: u8 = 0x56; // 32-bit, immediate
const EXIT: Instruction = Instruction { code: 0x95, registers: 0, offset: 0, immediate: 0 };

fn load(to: u8, from: u8, offset: i16) -> Instruction {
    Instruction { code: 0x61, registers: from << 4 | to, offset, immediate: 0 }
}

fn alu_immediate(code: u8, register: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: register, offset: 0, immediate }
}

fn move_register(to: u8, from: u8) -> Instruction {
    Instruction { code: 0xbc, registers: from << 4 | to, offset: 0, immediate: 0 }
}

fn move_immediate(to: u8, immediate: i32) -> Instruction {
    Instruction { code: 0xb7, registers: to, offset: 0, immediate }
}

fn jump_unless_equal(register: u8, immediate: i32) -> Instruction {
    Instruction { code: JUMP_NOT_EQUAL, registers: register, offset: 0, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(
        allow: bool,
        kind: &str,
        major: Option<i64>,
        minor: Option<i64>,
        access: &str,
    ) -> LinuxDeviceCgroup {
        LinuxDeviceCgroup { allow, kind: Some(kind.into()), major, minor, access: Some(access.into()) }
    }

    /// Runs a program as the kernel would.
    fn run(code: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let memory = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 11];
        let mut at = 0;
        loop {
            let instruction = code[at];
            let to = usize::from(instruction.registers & 15);
            let from = usize::from(instruction.registers >> 4);
            at += 1;
            match instruction.code {
                0x61 => registers[to] = memory[instruction.offset as usize / 4],
                0xbc => registers[to] = registers[from],
                0xb7 => registers[to] = instruction.immediate as u32,
                AND => registers[to] &= instruction.immediate as u32,
                SHIFT_RIGHT => registers[to] >>= instruction.immediate,
                JUMP_NOT_EQUAL if registers[to] != instruction.immediate as u32 => {
                    at += instruction.offset as usize;
                }
                JUMP_NOT_EQUAL => {}
                0x95 => return registers[0] == 1,
                other => panic!("unknown operation {other:x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        let rules = [
            rule(false, "a", None, None, "rwm"),
            rule(true, "c", None, None, "m"),
            rule(true, "c", Some(1), Some(3), "rwm"),
            rule(true, "b", Some(8), None, "r"),
            rule(false, "c", Some(1), Some(9), "w"),
        ];
        let code = program(&rules);
        let (block, character) = (BLOCK as u32, CHARACTER as u32);
        assert!(run(&code, character, READ | WRITE, 1, 3));
        assert!(run(&code, character, MAKE, 4, 4));
        assert!(!run(&code, character, READ, 4, 4));
        assert!(run(&code, block, READ, 8, 1));
        assert!(!run(&code, block, READ | WRITE, 8, 1));
        assert!(!run(&code, character, WRITE, 1, 9));
        assert!(!allow_all(&rules));
        assert!(allow_all(&[rule(true, "a", None, None, "rwm")]));
    }

    #[test]
    fn lines_have_the_kernels_form() {
        let lines =
            legacy_lines(&[rule(false, "a", None, None, "rwm"), rule(true, "c", Some(136), None, "rwm")]);
        assert_eq!(lines, [(false, "a *:* rwm".to_owned()), (true, "c 136:* rwm".to_owned())]);
    }
}
