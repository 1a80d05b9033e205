//! What the runtime reads: filters of system calls, users of an image.

use corten_oci::runtime::User;
use corten_runtime::seccomp::{Profile, Program, ResolveContext, compile};
use corten_runtime::user::resolve;

use super::texts;
use crate::Target;

pub(super) const SECCOMP: Target = Target {
    name: "seccomp_profile",
    run: seccomp,
    seeds: || {
        let mut seeds = texts(&[
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}],"syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW"},{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}],"excludes":{"caps":["CAP_SYS_ADMIN"]}},{"names":["bpf"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"includes":{"caps":["CAP_BPF"],"arches":["amd64"],"minKernel":"4.8"}}]}"#,
        ]);
        let capabilities = ["CAP_CHOWN".to_owned()];
        let program = corten_runtime::seccomp::compile_default(&capabilities).expect("the default profile");
        seeds.push(program.to_bytes());
        seeds
    },
    words: &[
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_GE",
        "SCMP_CMP_MASKED_EQ",
        "SCMP_ARCH_ARM",
        "\"index\":5",
        "\"index\":6",
        "\"value\":18446744073709551615",
        "\"names\":[\"socket\"]",
        "[",
        "]",
        "{",
        "}",
    ],
};

/// A profile compiles to a program that comes out of its bytes again, or is refused.
fn seccomp(bytes: &[u8]) {
    if let Some(program) = Program::from_bytes(bytes) {
        assert_eq!(program.to_bytes(), bytes);
    }
    let Ok(profile) = serde_json::from_slice::<Profile>(bytes) else { return };
    for capabilities in [&[][..], &["CAP_SYS_ADMIN".to_owned(), "CAP_BPF".to_owned()]] {
        let document = profile.resolve(&ResolveContext::of_this_machine(capabilities));
        let Ok(program) = compile(&document) else { continue };
        assert!(!program.instructions().is_empty() && program.instructions().len() <= 4096);
        let again = Program::from_bytes(&program.to_bytes()).expect("a program comes out of its bytes");
        assert_eq!(again.to_bytes(), program.to_bytes());
    }
}

pub(super) const USERS: Target = Target {
    name: "image_users",
    run: users,
    seeds: || {
        texts(&[
            "bob:wheel\0root:x:0:0:root:/root:/bin/sh\nbob:x:1000:100::/home/bob:\n\0wheel:x:10:bob,root\nusers:x:100:\n",
            "1000:5\0\0x",
            "-1\0bob:x:99999999999:5::/\n\0g:x:-5:bob\n",
        ])
    },
    words: &[":", "\n", "\0", "root", "0", "4294967295", ",", "x:"],
};

/// What was asked, and the two files, separated by zero bytes.
fn users(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let (name, passwd, group) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let Ok(name) = std::str::from_utf8(name) else { return };
    let wanted = User {
        username: Some(name.to_owned()),
        additional_group_names: vec!["wheel".to_owned()],
        ..User::default()
    };
    for wanted in [wanted, User { username: Some(name.to_owned()), ..User::default() }] {
        let Ok(user) = resolve(&wanted, passwd, group) else { continue };
        assert!(!user.home.is_empty());
        assert_eq!(user.groups.first(), Some(&user.gid));
        let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if digits {
            assert_eq!(
                user.uid.to_string(),
                name.trim_start_matches('0').to_owned()
                    + if name.trim_start_matches('0').is_empty() { "0" } else { "" }
            );
        }
    }
}
