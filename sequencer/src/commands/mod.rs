//! The commands of the binary, one file each.

pub mod db;
pub mod deploy;
pub mod dev;
pub mod follow;
pub mod run;
pub mod verify;
