//! The commands of the binaries, one file each.

pub mod admin;
pub mod batch;
pub mod db;
pub mod deploy;
pub mod dev;
pub mod follow;
pub mod run;
pub mod verify;
