//! Layers and archives against a real file system. Most of it needs root: owners, devices and `trusted.*` attributes.

mod apply;
mod copy;
mod cve_2018_15664;
mod hostile;
mod property;
mod speed;
mod support;
mod upper;
