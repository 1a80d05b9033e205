//! A compiled filter.

use std::io;

use corten_sys::seccomp::{self, Instruction, LoadFlags};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A filter ready to be loaded. As bytes it is eight per instruction, as the kernel's `struct sock_filter` in
/// the machine's byte order, after one byte of flags: a cache or a socket carries it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub(super) instructions: Vec<Instruction>,
    pub(super) log: bool,
    pub(super) allow_speculation: bool,
}

impl Program {
    /// The instructions.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + self.instructions.len() * 8);
        bytes.push(u8::from(self.log) | u8::from(self.allow_speculation) << 1);
        for instruction in &self.instructions {
            bytes.extend(instruction.code.to_ne_bytes());
            bytes.extend([instruction.jump_true, instruction.jump_false]);
            bytes.extend(instruction.operand.to_ne_bytes());
        }
        bytes
    }

    /// From bytes of [`Self::to_bytes`]; `None` where they are not a whole filter.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, rest) = bytes.split_first()?;
        let (chunks, left) = rest.as_chunks::<8>();
        if *flags > 3 || !left.is_empty() || chunks.is_empty() || chunks.len() > seccomp::MAX_INSTRUCTIONS {
            return None;
        }
        let instructions = chunks
            .iter()
            .map(|chunk| Instruction {
                code: u16::from_ne_bytes([chunk[0], chunk[1]]),
                jump_true: chunk[2],
                jump_false: chunk[3],
                operand: u32::from_ne_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
            })
            .collect();
        Some(Self { instructions, log: flags & 1 != 0, allow_speculation: flags & 2 != 0 })
    }

    /// Puts the filter on the calling process, for good.
    pub(crate) fn load(&self) -> io::Result<()> {
        seccomp::load(
            &self.instructions,
            LoadFlags { log: self.log, allow_speculation: self.allow_speculation },
        )
    }
}

impl Serialize for Program {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        Self::from_bytes(&bytes).ok_or_else(|| serde::de::Error::custom("not a whole filter"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_carry_a_program() {
        let program = Program {
            instructions: vec![Instruction { code: 6, jump_true: 1, jump_false: 2, operand: 0x7fff_0000 }],
            log: true,
            allow_speculation: false,
        };
        assert_eq!(Program::from_bytes(&program.to_bytes()), Some(program));
        assert_eq!(Program::from_bytes(&[0, 1, 2]), None);
    }
}
