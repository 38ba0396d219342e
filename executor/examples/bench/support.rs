//! Where the public chain data is. The loader that the tests share reads through here.
//!
//! Knows nothing of what is in the files.

use crate::Failure;
use std::path::PathBuf;

/// The folder of public chain data: `WEFT_DATA`, or next to the workspace.
pub(crate) fn folder() -> PathBuf {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    std::env::var_os("WEFT_DATA").map_or(default, Into::into)
}

/// A file of the data, unpacked; `None` where it cannot be read.
pub(crate) fn data(name: &str) -> Option<Vec<u8>> {
    let packed = std::fs::read(folder().join(name)).ok()?;
    let mut bytes = Vec::new();
    lzma_rs::xz_decompress(&mut &packed[..], &mut bytes).ok()?;
    Some(bytes)
}

/// Names of the blocks or workloads in a folder of the data, without their ending, sorted.
pub(crate) fn names(below: &str) -> Result<Vec<String>, Failure> {
    let folder = folder().join(below);
    let missing = |error| format!("no data at {} ({error}); set WEFT_DATA", folder.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(missing)? {
        let file = entry.map_err(missing)?.file_name();
        names.extend(file.to_string_lossy().strip_suffix(".json.xz").map(str::to_owned));
    }
    names.sort();
    if names.is_empty() {
        return Err(format!("no data at {}; set WEFT_DATA", folder.display()));
    }
    Ok(names)
}
