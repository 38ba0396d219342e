//! The committed artifacts are what the sources compile to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failed step fails the test"
)]

#[path = "support/skip.rs"]
mod skip;

use skip::skip;
use std::{
    path::Path,
    process::{Command, Output},
};

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program)
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("{program} did not start: {error}"))
}

#[test]
fn artifacts_are_what_the_sources_compile_to() {
    let forge = "node_modules/.bin/forge";
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(forge).exists() {
        skip("contracts/node_modules absent");
        return;
    }
    for (program, args) in
        [(forge, &["build", "--quiet"][..]), ("node", &["script/artifacts.mjs", "--check"][..])]
    {
        let output = run(program, args);
        assert!(
            output.status.success(),
            "{program} {args:?}:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }
}
