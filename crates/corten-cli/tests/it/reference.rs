//! The reference page tells what the program does.

#[test]
fn the_page_is_what_the_declarations_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
    let page = corten_cli::reference();
    if std::env::var_os("CORTEN_UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/commands.md is out of date: CORTEN_UPDATE=1 cargo test -p corten-cli");
}
