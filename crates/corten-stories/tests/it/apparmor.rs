//! AppArmor where the kernel has it: the default profile, others, none; as `inspect` tells it and as the kernel does.

use crate::daemon;

#[test]
fn containers_are_confined_by_the_profile_that_inspect_tells() {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    let Some(daemon) = daemon("apparmor") else { return };
    let told = |name: &str| daemon.ok(&["inspect", "-f", "{{.AppArmorProfile}}", name]);
    daemon.ok(&["create", "--name", "new", "busybox", "true"]);
    assert_eq!(told("new"), "", "nothing is applied before the start");
    if !enabled.starts_with('Y') {
        daemon.ok(&["start", "new"]);
        assert_eq!(told("new"), "", "this kernel has no AppArmor");
        return;
    }
    if !corten_testing::need("apparmor_parser", corten_testing::program("apparmor_parser")) {
        return;
    }
    let cases: [(&[&str], &str, &str); 3] = [
        (&[], "docker-default", "docker-default (enforce)"),
        (&["--privileged"], "unconfined", "unconfined"),
        (&["--security-opt", "apparmor=unconfined"], "unconfined", "unconfined"),
    ];
    for (index, (options, profile, label)) in cases.into_iter().enumerate() {
        let name = format!("c{index}");
        let run = [&["run", "-d", "--name", &name], options, &["busybox", "sleep", "1000"]].concat();
        daemon.ok(&run);
        assert_eq!(told(&name), profile, "{options:?}");
        let look = ["exec", &name, "cat", "/proc/self/attr/current"];
        assert_eq!(daemon.ok(&look).trim_end_matches('\0'), label, "{options:?}");
        daemon.ok(&["rm", "-f", &name]);
    }
    // What capabilities and the filter would let it do, the profile does not.
    let mount = |more: &[&str]| {
        let open = ["run", "--rm", "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
        daemon.corten(&[&open, more, &["busybox", "mount", "-t", "tmpfs", "none", "/tmp"]].concat())
    };
    let said = mount(&[]);
    assert!(said.code != 0 && said.err.to_lowercase().contains("denied"), "{said:?}");
    assert_eq!(mount(&["--security-opt", "apparmor=unconfined"]).code, 0, "no attack to be stopped");
    let said = daemon.corten(&["run", "--rm", "--security-opt", "apparmor=nosuch", "busybox", "true"]);
    assert!(matches!(said.code, 125..=127) && said.err.contains("nosuch"), "{said:?}");
}
