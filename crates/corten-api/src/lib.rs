//! Engine API documents by version, the table of routes, the error document; shared by daemon, client and dashboard.
