//! What a shell and other programs add to the command line: completion and plugins.

use crate::daemon;
use corten_testing::daemon::Said;
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
fn a_context_is_made_used_carried_and_removed() {
    let Some(daemon) = daemon("contexts") else { return };
    let folder = daemon.folder().join("configuration");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.json"), r#"{"credsStore":"pass","unknown":[1]}"#).unwrap();
    let configuration = folder.display().to_string();
    let run = |words: &[&str]| {
        let mut command = daemon.command(&[&["--config", &configuration], words].concat());
        Said::from(command.env_remove("DOCKER_HOST").output().expect("the program starts"))
    };
    let host = format!("host=unix://{}", daemon.socket().display());
    assert_eq!(
        run(&["context", "create", "here", "--description", "this one", "--docker", &host]).out,
        "here\n"
    );
    let again = run(&["context", "create", "here"]);
    assert_eq!((again.code, again.err.as_str()), (1, "context \"here\" already exists\n"));
    assert_eq!(run(&["context", "use", "here"]).out, "here\n");
    assert_eq!(run(&["context", "show"]).out, "here\n");
    let saved = std::fs::read_to_string(folder.join("config.json")).unwrap();
    assert!(saved.contains("\"credsStore\": \"pass\"") && saved.contains("\"unknown\""), "{saved}");
    assert_eq!(run(&["version", "-f", "{{.Client.Context}}"]).out, "here\n");
    let archive = daemon.folder().join("here.tar").display().to_string();
    assert_eq!(run(&["context", "export", "here", &archive]).code, 0);
    assert_eq!(run(&["context", "import", "there", &archive]).out, "there\n");
    let list = run(&["context", "ls", "--format", "{{.Name}} {{.Current}} {{.Description}}"]).out;
    let wanted =
        "default false Current DOCKER_HOST based configuration\nhere true this one\nthere false this one\n";
    assert_eq!(list, wanted);
    let in_use = run(&["context", "rm", "here"]);
    assert!(in_use.code == 1 && in_use.err.contains("is in use"), "{}", in_use.err);
    assert_eq!(run(&["context", "rm", "-f", "here", "there"]).code, 0);
    assert_eq!(run(&["context", "show"]).out, "default\n");
    std::fs::write(daemon.folder().join("bad.tar"), b"no archive at all").unwrap();
    let bad = run(&["context", "import", "bad", &daemon.folder().join("bad.tar").display().to_string()]);
    assert!(bad.code == 1 && bad.err.contains("not one of a context"), "{}", bad.err);
}

#[test]
fn a_plugin_gets_the_whole_command_line_and_is_shown_in_the_help() {
    let Some(daemon) = daemon("plugins") else { return };
    let folder = daemon.folder().join("configuration");
    std::fs::create_dir_all(folder.join("cli-plugins")).unwrap();
    let plugin = folder.join("cli-plugins/docker-greet");
    let script = "#!/bin/sh\n\
        if [ \"$1\" = docker-cli-plugin-metadata ]; then\n\
          echo asked >> \"$0.asked\"\n\
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
    let asked =
        || std::fs::read_to_string(folder.join("cli-plugins/docker-greet.asked")).unwrap().lines().count();
    let before = asked();
    assert_eq!(daemon.ok(&["--config", &configuration, "help"]), help);
    assert_eq!(asked(), before, "what it said is remembered");
    std::fs::write(&plugin, script.replace("Greets people", "Greets all")).unwrap();
    let changed = daemon.ok(&["--config", &configuration, "help"]);
    assert!(changed.contains("  greet*      Greets all\n"), "{changed}");
    let said = daemon.corten(&["--config", &configuration, "gret"]);
    assert!(said.code == 1 && said.err.contains("unknown command: corten gret"), "{}", said.err);
    let metadata = daemon.ok(&["docker-cli-plugin-metadata"]);
    assert!(metadata.contains("\"SchemaVersion\":\"0.1.0\""), "{metadata}");
}
