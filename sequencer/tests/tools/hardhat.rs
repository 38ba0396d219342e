//! Hardhat 3 in a project of its own: compiles with solcjs, deploys, calls, and reads errors.
//!
//! Its packages are in `hardhat/`, apart from those of contracts, because they are large and need a
//! newer Node.js than everything else. Skips visibly where they or that Node.js are absent.

use crate::{scripts, skip::skip, support::node_modules};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What Hardhat 3 asks for: major and minor version.
const NODE_MIN: (u32, u32) = (22, 13);

/// An installed Hardhat and the Node.js to run it with.
pub(crate) struct Hardhat {
    folder: PathBuf,
    node: PathBuf,
}

/// Major and minor version of a Node.js; `None` where there is none.
fn version(node: &Path) -> Option<(u32, u32)> {
    let output = Command::new(node).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut parts = text.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

impl Hardhat {
    /// Finds both; `None`, visibly, where one is absent.
    pub(crate) fn find() -> Option<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/hardhat");
        let modules = folder.join("node_modules");
        // Written when everything is there; an interrupted installation does not count.
        if !modules.join(".weft-setup").exists() {
            skip("Hardhat absent");
            return None;
        }
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let own = modules.join(format!("node-linux-{arch}/bin/node"));
        let candidates = [PathBuf::from("node"), own];
        let node = candidates.into_iter().find(|node| version(node) >= Some(NODE_MIN));
        let Some(node) = node else {
            skip("no Node.js 22.13 or later for Hardhat");
            return None;
        };
        Some(Self { folder, node })
    }

    /// Compiles, then runs the script against the node at `url`.
    pub(crate) fn check(&self, url: &str, key: &str) {
        let project = tempfile::tempdir().unwrap();
        let copy = |from: PathBuf, to: &str| {
            let to = project.path().join(to);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(from, to).unwrap();
        };
        for file in ["package.json", "hardhat.config.js", "use.mjs"] {
            copy(self.folder.join(file), file);
        }
        copy(self.folder.join("../Counter.sol"), "contracts/Counter.sol");
        // A module is looked for upwards from the file that asks for it.
        let modules = project.path().join("node_modules");
        std::os::unix::fs::symlink(self.folder.join("node_modules"), modules).unwrap();
        for arguments in [&["build"][..], &["run", "use.mjs", "--network", "weft"]] {
            let output = scripts::run(
                Command::new(&self.node)
                    .arg(self.folder.join("node_modules/hardhat/dist/src/cli.js"))
                    .args(arguments)
                    .current_dir(project.path())
                    .env("WEFT_URL", url)
                    .env("WEFT_KEY", key)
                    .env("SOLCJS", node_modules().join("solc/soljson.js"))
                    .env("HOME", project.path())
                    .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
                    .env("CI", "true"),
                "",
            );
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        }
    }
}
