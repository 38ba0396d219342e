//! How a test that cannot run says so; shared by the test binaries of this crate.

use std::{fs::OpenOptions, io::Write as _};

/// Says that a test did not run, and why: on stderr, and for the count that ends `make test`.
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    if let Some(path) = std::env::var_os("WEFT_SKIP_LOG") {
        let mut log = OpenOptions::new().append(true).create(true).open(path).unwrap();
        log.write_all(format!("skipped: {reason}\n").as_bytes()).unwrap();
    }
}
