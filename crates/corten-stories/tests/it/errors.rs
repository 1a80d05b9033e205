//! Mistakes: each one line that says what, on what, why, and nothing is left behind.

use crate::daemon;

#[test]
fn mistakes_are_told_in_one_line() {
    let Some(daemon) = daemon("mistakes") else { return };
    daemon.ok(&["run", "-d", "--name", "taken", "-p", "127.0.0.1:18181:80", "busybox", "sleep", "1000"]);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["run", "no-such-image"], 125, "no-such-image:latest"),
        (&["run", "--name", "a/b", "busybox"], 125, "Invalid container name (a/b)"),
        (&["run", "--name", "taken", "busybox"], 125, "is already in use by container"),
        (&["run", "--rm", "-p", "127.0.0.1:18181:80", "busybox", "true"], 125, "port is already allocated"),
        (
            &["run", "--rm", "--mount", "type=bind,src=/no/such/folder,dst=/x", "busybox", "true"],
            125,
            "bind source path does not exist",
        ),
        (&["run", "--rm", "-u", "nobody-here", "busybox", "true"], 125, "unable to find user nobody-here"),
        (&["run", "--rm", "busybox", "no-such"], 127, "executable file not found"),
        (&["run", "--rm", "busybox", "/etc"], 126, "/etc"),
        (&["run", "--rm", "--network", "nowhere", "busybox", "true"], 125, "network nowhere not found"),
        (&["run", "--rm", "-m", "1k", "busybox", "true"], 125, "Minimum memory limit allowed is 6MB"),
        (&["exec", "nobody", "true"], 1, "No such container: nobody"),
        (
            &["exec", "-u", "ghost", "taken", "true"],
            1,
            "unable to find user ghost: no matching entries in passwd file",
        ),
        (
            &["exec", "-d", "-u", "0:ghosts", "taken", "true"],
            1,
            "unable to find group ghosts: no matching entries in group file",
        ),
        (&["exec", "-u", "99999999999", "taken", "true"], 1, "uids and gids must be in range 0-2147483647"),
        (&["rm", "taken"], 1, "container is running"),
        (&["volume", "rm", "nothing"], 1, "no such volume"),
        (&["network", "rm", "bridge"], 1, "pre-defined network"),
        (&["inspect", "nothing"], 1, "No such object: nothing"),
    ];
    for (words, code, text) in cases {
        let said = daemon.corten(words);
        assert_eq!(said.code, *code, "{words:?}: {said:?}");
        assert!(said.err.contains(text), "{words:?}: {said:?}");
    }
    assert_eq!(
        daemon.ok(&["ps", "-a", "--format", "{{.Names}}"]),
        "taken",
        "what could not be made is not there"
    );
    daemon.ok(&["rm", "-f", "taken"]);
}
