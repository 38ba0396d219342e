//! The committed inputs: one a line, as text, or in hex where a line begins with `0x`.
//!
//! An input that was found to fail becomes a line here, and stays.

use alloy::primitives::hex;

/// Reads one file of the corpus. Lines that begin with `#` are remarks.
pub(super) fn read(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(input).collect()
}

/// The bytes of one line.
fn input(line: &str) -> Vec<u8> {
    match line.starts_with("0x") {
        true => hex::decode(line).unwrap(),
        false => line.as_bytes().to_vec(),
    }
}
