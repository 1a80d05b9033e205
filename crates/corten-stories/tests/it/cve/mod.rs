//! Published attacks on container engines, by number, against the whole program. Those on the runtime are with
//! `corten-runtime`.

mod copy;
mod documents;
mod reach;
