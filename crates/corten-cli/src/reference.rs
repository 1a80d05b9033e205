//! The reference page of all commands, made from their declarations; a test compares it with `docs/commands.md`.

use crate::command::{ENTRIES, GROUPS};
use crate::environment::VARIABLES;
use crate::help;
use std::fmt::Write as _;

/// The page as Markdown.
pub(crate) fn page() -> String {
    let mut page = String::from(
        "# Commands\n\n\
         Made from the declarations in `crates/corten-cli/src/command`; `CORTEN_UPDATE=1 cargo test -p corten-cli` \
         writes it anew. Names, flags, output and exit codes are Docker's.\n\n\
         Groups: ",
    );
    let groups: Vec<String> = GROUPS.iter().map(|(name, about)| format!("`{name}` ({about})")).collect();
    let _ = writeln!(page, "{}.\n", groups.join(", "));
    for entry in ENTRIES {
        let declared = (entry.command)();
        if declared.is_hide_set() {
            continue;
        }
        let about = declared.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(page, "## {}\n\n{about}.\n\n    corten {} {}", entry.name, entry.name, entry.usage);
        if !entry.aliases.is_empty() {
            let names: Vec<String> = entry.aliases.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(page, "\nAlso: {}", names.join(", "));
        }
        let flags = help::flags(&declared, None);
        if !flags.is_empty() {
            let indented: String = flags.lines().fold(String::new(), |mut text, line| {
                let _ = writeln!(text, "    {line}");
                text
            });
            let _ = write!(page, "\n{indented}");
        }
        page.push('\n');
    }
    page.push_str("## Variables\n\n");
    for (name, about) in VARIABLES {
        let _ = writeln!(page, "- `{name}`: {}", about.trim());
    }
    page
}
