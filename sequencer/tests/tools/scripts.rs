//! Running programs with a time limit, and several subjects at once.

use serde_json::Value;
use std::{
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// Longest time of one program; far above what a slow machine needs. It is killed then, and its
/// subject fails.
const PROGRAM_MAX: Duration = Duration::from_secs(240);

/// A name, and a check that panics where something does not hold.
pub(crate) type Subject<'a> = (&'static str, Box<dyn FnOnce() + Send + 'a>);

/// Runs all at the same time; fails with the names of those that failed. What each of them says is
/// in the output.
pub(crate) fn run_all(subjects: Vec<Subject<'_>>) {
    let failed: Vec<_> = thread::scope(|scope| {
        let running = subjects.into_iter().map(|(name, check)| {
            (name, scope.spawn(move || catch_unwind(AssertUnwindSafe(check)).is_ok()))
        });
        let running: Vec<_> = running.collect();
        let ended = running.into_iter().map(|(name, thread)| (name, thread.join().unwrap()));
        ended.filter(|(_, held)| !held).map(|(name, _)| name).collect()
    });
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

/// Runs a program to its end, with this on its standard input.
pub(crate) fn run(command: &mut Command, input: &str) -> Output {
    let what = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    // A program that ends without reading is no failure.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let pid = child.id().to_string();
    let (done, is_done) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        let late = is_done.recv_timeout(PROGRAM_MAX) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = Command::new("kill").args(["-KILL", &pid]).status();
        }
        late
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    if guard.join().unwrap() {
        let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        panic!("{what}: no end within {PROGRAM_MAX:?}, after {}", said.join("\n"));
    }
    output
}

/// Runs a script below this folder, which reads `input` and fails where an expectation does not hold.
pub(crate) fn run_script(path: &str, input: &Value) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(path);
    let output = run(Command::new("node").arg(script), &input.to_string());
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
}
