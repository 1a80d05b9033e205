//! The page about the API lists the routes that there are.

use corten_api::route::ROUTES;

const MARK: &str = "<!-- routes -->\n";

#[test]
fn the_page_lists_the_routes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, table) = page.split_once(MARK).unwrap();
    let rows = ROUTES.iter().map(|route| {
        let method = format!("{:?}", route.method).to_uppercase();
        format!("| `{method} {}` | {} |\n", route.pattern, route.operation.meaning())
    });
    let expected = format!("\n| route | what it asks for |\n| --- | --- |\n{}", rows.collect::<String>());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, format!("{before}{MARK}{expected}")).unwrap();
        return;
    }
    assert!(table == expected, "docs/api.md is behind: UPDATE_EXPECT=1 cargo test -p corten-api");
}
