//! Documents as Docker's clients send them and expect them: what real ones look like, key by key, in order.

mod documents;
mod routes;
