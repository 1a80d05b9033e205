//! What a shell and other programs add to the command line: completion and plugins.

use crate::daemon;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// What bash would offer at the end of `line`.
fn offered(path: &str, script: &str, host: &str, line: &str) -> String {
    let ask = format!(
        "source {script}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _corten_complete; echo \"${{COMPREPLY[*]}}\""
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &ask])
        .env("PATH", path)
        .env("DOCKER_HOST", host)
        .output()
        .expect("bash");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_is_told_what_could_come_next() {
    let Some(daemon) = daemon("shells") else { return };
    daemon.ok(&["create", "--name", "alpha", "busybox", "true"]);
    daemon.ok(&["run", "-d", "--name", "beta", "busybox", "sleep", "1000"]);
    let programs = daemon.folder().join("programs");
    std::fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink(corten_testing::daemon::program(), programs.join("corten")).unwrap();
    let script = daemon.folder().join("completion.bash");
    std::fs::write(&script, daemon.ok(&["completion", "bash"])).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let host = format!("unix://{}", daemon.socket().display());
    for (line, wanted) in [
        ("corten volu", "volume"),
        ("corten volume pr", "prune"),
        ("corten exec ", "beta"),
        ("corten rm ", "alpha beta"),
        ("corten rm alpha ", "beta"),
        ("corten run --netw", "--network --network-alias"),
        ("corten run --network ho", "host"),
        ("corten run --network=ho", "host"),
        ("corten run --rm -it busybox:l", "latest"),
        ("corten cp al", "alpha:"),
        ("corten run busybox ", ""),
    ] {
        assert_eq!(offered(&path, &script.display().to_string(), &host, line), wanted, "{line}");
    }
    daemon.ok(&["rm", "-f", "alpha", "beta"]);
}

#[test]
fn a_plugin_gets_the_whole_command_line_and_is_shown_in_the_help() {
    let Some(daemon) = daemon("plugins") else { return };
    let folder = daemon.folder().join("configuration");
    std::fs::create_dir_all(folder.join("cli-plugins")).unwrap();
    let plugin = folder.join("cli-plugins/docker-greet");
    let script = "#!/bin/sh\n\
        if [ \"$1\" = docker-cli-plugin-metadata ]; then\n\
          echo '{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"us\",\"ShortDescription\":\"Greets people\"}'; exit\n\
        fi\n\
        echo \"$DOCKER_HOST $*\"; exit 7\n";
    std::fs::write(&plugin, script).unwrap();
    std::fs::set_permissions(&plugin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let configuration = folder.display().to_string();
    let said = daemon.corten(&["--config", &configuration, "greet", "--loud", "you"]);
    let host = format!("unix://{}", daemon.socket().display());
    assert_eq!(said.out, format!("{host} --config {configuration} greet --loud you\n"));
    assert_eq!(said.code, 7);
    let help = daemon.ok(&["--config", &configuration, "help"]);
    assert!(help.contains("  greet*      Greets people\n"), "{help}");
    let said = daemon.corten(&["--config", &configuration, "gret"]);
    assert!(said.code == 1 && said.err.contains("unknown command: corten gret"), "{}", said.err);
    let metadata = daemon.ok(&["docker-cli-plugin-metadata"]);
    assert!(metadata.contains("\"SchemaVersion\":\"0.1.0\""), "{metadata}");
}
