//! The engine's file, looked at before the engine opens it: whether its end is there.
//!
//! The engine takes a file without bytes for a new database. Where the newest transaction's pages are
//! missing it goes back to an older one that is whole, and fills the file up: blocks would be gone
//! without a word. So the size that the newest transaction needs is compared with the file's. What
//! else may be wrong is left to the engine. Reads three pages, writes nothing.
//!
//! Also says whether the disk has room, which a failed write does not always say.

use super::{DATA_FILE, KvError};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// First bytes of a transaction's page: the engine's magic number, with format version 3.
const MAGIC: u64 = (0x0059_659D_BDEF_4C11 << 8) + 3;
/// Transactions' pages, at the beginning of the file; the engine writes them in turn.
const META_PAGES: u64 = 3;
/// Bytes of such a page that matter here.
const META_BYTES: usize = 68;
/// Page sizes that the engine knows.
const PAGE_BYTES_MIN: u64 = 256;
const PAGE_BYTES_MAX: u64 = 65_536;

/// What a transaction's page says.
#[derive(Clone, Copy)]
struct Meta {
    transaction: u64,
    pages_used: u64,
    page_bytes: u64,
}

impl Meta {
    /// The fields behind the page's own header of 20 bytes; `None` where it is no such page.
    fn read(page: &[u8; META_BYTES]) -> Option<Self> {
        let u64_at = |at: usize| page.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
        let u32_at = |at: usize| {
            page.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes).map(u64::from)
        };
        (u64_at(20)? == MAGIC).then_some(())?;
        let page_bytes = u32_at(64)?;
        let is_size = (PAGE_BYTES_MIN..=PAGE_BYTES_MAX).contains(&page_bytes);
        is_size.then_some(())?;
        Some(Self { transaction: u64_at(28)?, pages_used: u32_at(56)?, page_bytes })
    }
}

/// Refuses a file that lost its end; says nothing where there is none.
pub(super) fn refuse_cut_off(directory: &Path) -> Result<(), KvError> {
    let Ok(mut file) = File::open(directory.join(DATA_FILE)) else { return Ok(()) };
    let Ok(file_bytes) = file.metadata().map(|file| file.len()) else { return Ok(()) };
    if file_bytes < META_PAGES * PAGE_BYTES_MIN {
        return Err(KvError::CutOff { file_bytes });
    }
    let Some(first) = meta_at(&mut file, 0) else { return Ok(()) };
    if file_bytes < META_PAGES * first.page_bytes {
        return Err(KvError::CutOff { file_bytes });
    }
    let others = (1..META_PAGES).filter_map(|n| meta_at(&mut file, n * first.page_bytes));
    let newest = others.chain([first]).max_by_key(|meta| meta.transaction).unwrap_or(first);
    // A writer beside us makes the file longer before it says so.
    let file_bytes = file.metadata().map_or(file_bytes, |file| file.len());
    if file_bytes < newest.pages_used * newest.page_bytes {
        return Err(KvError::CutOff { file_bytes });
    }
    Ok(())
}

fn meta_at(file: &mut File, at_bytes: u64) -> Option<Meta> {
    let read = |file: &mut File| -> io::Result<[u8; META_BYTES]> {
        let mut page = [0; META_BYTES];
        file.seek(SeekFrom::Start(at_bytes))?;
        file.read_exact(&mut page)?;
        Ok(page)
    };
    Meta::read(&read(file).ok()?)
}

/// A file that is written to see whether there is room, and removed.
const PROBE_FILE: &str = "space.probe";
/// Its size, in bytes: 1 MiB, below what a fold of blocks under load writes.
const PROBE_BYTES: usize = 1 << 20;

/// Whether another file still fits beside the engine's. What fails for another reason says yes: then it
/// is not room that is missing.
pub(super) fn has_room(directory: &Path) -> bool {
    let path = directory.join(PROBE_FILE);
    let probe = || -> io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(&vec![0x5a; PROBE_BYTES])?;
        // Some file systems give out space only now.
        file.sync_data()
    };
    let probed = probe();
    // Emptied by the next probe where it cannot be removed.
    let _ = std::fs::remove_file(&path);
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    probed.err().is_none_or(|error| !full.contains(&error.kind()))
}
