//! Every documented operation has a route, and the page about the API lists the routes that there are.

use corten_api::route::{self, Method, ROUTES};
use corten_api::version::ApiVersion;

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
    if std::env::var_os("CORTEN_UPDATE").is_some() {
        std::fs::write(path, format!("{before}{MARK}{expected}")).unwrap();
        return;
    }
    assert!(table == expected, "docs/api.md is behind: CORTEN_UPDATE=1 cargo test -p corten-api");
}

/// Facts of Docker's description: method, path, first version.
const OPERATIONS: &str = include_str!("operations.txt");

#[test]
fn every_documented_operation_has_a_route() {
    let rows: Vec<Vec<&str>> = OPERATIONS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 108);
    let mut operations = std::collections::HashSet::new();
    for row in rows {
        let &[method, path, since] = row.as_slice() else { panic!("{row:?}") };
        let since = ApiVersion::one(since.parse().unwrap());
        let concrete = path.replace("{id}", "a").replace("{name}", "a");
        assert!(!concrete.contains('{'), "{path}");
        let found = route::find(Method::from_name(method).unwrap(), &concrete, since);
        let found = found.unwrap_or_else(|| panic!("{method} {path} has no route"));
        let before = ApiVersion::one(since.minor - 1);
        let early = route::find(Method::from_name(method).unwrap(), &concrete, before);
        assert_eq!(early.map(|early| early.operation), None, "{method} {path} is there too early");
        assert_eq!(found.name.is_empty(), !path.contains('{'), "{method} {path}");
        assert!(operations.insert(found.operation), "{method} {path} is not told from another");
    }
}
