//! Real files with failures put between them and the log, and a power loss that takes what was not
//! durable. Counts every fault that fires.

use sequencer::store::log::{DirectoryFiles, LogFile, LogFiles};
use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// Operating-system errors, by number.
pub(crate) const EIO: i32 = 5;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EDQUOT: i32 = 122;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Create,
    Open,
    List,
    Remove,
    SyncDirectory,
    Length,
    Read,
    Write,
    SyncData,
    Truncate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails and does nothing.
    Error(i32),
    /// A write writes half of what it should, and says so.
    Short,
    /// A write writes half of what it should, and fails on the rest.
    ShortThenError(i32),
}

/// Fires on `times` calls of a kind after `skip` of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) call: Call,
    pub(crate) fault: Fault,
    pub(crate) skip: usize,
    pub(crate) times: usize,
}

#[derive(Debug, Default)]
struct Plan {
    rules: Vec<Rule>,
    /// The next write fails with this.
    then: Option<i32>,
    calls: BTreeMap<Call, usize>,
    fired: BTreeMap<Call, usize>,
    /// Bytes of each file that are in the page cache alone: not synced yet, or never again because
    /// a sync of them failed.
    unsynced: BTreeMap<String, Vec<Range<u64>>>,
    lost: BTreeMap<String, Vec<Range<u64>>>,
}

impl Plan {
    fn fault(&mut self, call: Call) -> Option<Fault> {
        *self.calls.entry(call).or_default() += 1;
        let rule = self.rules.iter_mut().find(|rule| rule.call == call)?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times = rule.times.checked_sub(1)?;
        *self.fired.entry(call).or_default() += 1;
        Some(rule.fault)
    }

    fn fail(&mut self, call: Call) -> io::Result<()> {
        match self.fault(call) {
            Some(Fault::Error(code) | Fault::ShortThenError(code)) => {
                Err(io::Error::from_raw_os_error(code))
            }
            _ => Ok(()),
        }
    }

    fn write(&mut self, name: &str, offset: u64, length: usize) {
        let range = offset..offset + length as u64;
        for lost in self.lost.get_mut(name).into_iter().flatten() {
            // Dirty again, so the next sync does write it.
            if lost.start >= range.start && lost.end <= range.end {
                lost.end = lost.start;
            }
        }
        self.unsynced.entry(name.to_owned()).or_default().push(range);
    }

    fn truncate(&mut self, name: &str, length: u64) {
        for ranges in [&mut self.unsynced, &mut self.lost] {
            for range in ranges.get_mut(name).into_iter().flatten() {
                *range = range.start.min(length)..range.end.min(length);
            }
        }
    }
}

/// A directory whose calls can be made to fail.
#[derive(Clone, Debug)]
pub(crate) struct FaultyFiles {
    real: DirectoryFiles,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug)]
struct FaultyFile {
    name: String,
    real: Box<dyn LogFile>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultyFiles {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { real: DirectoryFiles::new(directory).unwrap(), plan: Arc::default() }
    }

    /// Replaces what will fail. Nothing counted is forgotten.
    pub(crate) fn plan(&self, rules: &[Rule]) {
        self.plan.lock().unwrap().rules = rules.to_vec();
    }

    /// Faults that fired so far on calls of this kind.
    pub(crate) fn fired(&self, call: Call) -> usize {
        self.plan.lock().unwrap().fired.get(&call).copied().unwrap_or_default()
    }

    /// Calls of this kind so far.
    pub(crate) fn calls(&self, call: Call) -> usize {
        self.plan.lock().unwrap().calls.get(&call).copied().unwrap_or_default()
    }

    /// Overwrites with zeros what no successful sync covers, as a disk without those pages reads.
    pub(crate) fn lose_power(&self) {
        let mut plan = self.plan.lock().unwrap();
        let (unsynced, lost) = (std::mem::take(&mut plan.unsynced), std::mem::take(&mut plan.lost));
        for (name, ranges) in unsynced.into_iter().chain(lost) {
            // A file whose creation was taken back has nothing to lose.
            let Ok(file) = self.real.open(&name) else { continue };
            for range in ranges.into_iter().filter(|range| !range.is_empty()) {
                let zeros = vec![0; (range.end - range.start) as usize];
                assert_eq!(file.write_at(&zeros, range.start).unwrap(), zeros.len());
            }
        }
    }

    fn file(&self, name: &str, real: Box<dyn LogFile>) -> Box<dyn LogFile> {
        Box::new(FaultyFile { name: name.to_owned(), real, plan: self.plan.clone() })
    }
}

impl LogFiles for FaultyFiles {
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.plan.lock().unwrap().fail(Call::Create)?;
        self.plan.lock().unwrap().truncate(name, 0);
        Ok(self.file(name, self.real.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.plan.lock().unwrap().fail(Call::Open)?;
        Ok(self.file(name, self.real.open(name)?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.plan.lock().unwrap().fail(Call::List)?;
        self.real.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.plan.lock().unwrap().fail(Call::Remove)?;
        self.real.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.plan.lock().unwrap().fail(Call::SyncDirectory)?;
        self.real.sync_directory()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.real.path(name)
    }
}

impl LogFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.plan.lock().unwrap().fail(Call::Length)?;
        self.real.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.plan.lock().unwrap().fail(Call::Read)?;
        self.real.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut plan = self.plan.lock().unwrap();
        if let Some(code) = plan.then.take() {
            return Err(io::Error::from_raw_os_error(code));
        }
        let length = match plan.fault(Call::Write) {
            None => bytes.len(),
            Some(Fault::Error(code)) => return Err(io::Error::from_raw_os_error(code)),
            Some(Fault::Short) => bytes.len() / 2,
            Some(Fault::ShortThenError(code)) => {
                plan.then = Some(code);
                bytes.len() / 2
            }
        };
        let written = self.real.write_at(&bytes[..length], offset)?;
        plan.write(&self.name, offset, written);
        Ok(written)
    }

    /// A failing sync writes nothing and leaves the pages marked clean, as Linux does.
    fn sync_data(&self) -> io::Result<()> {
        let mut plan = self.plan.lock().unwrap();
        let outcome = plan.fail(Call::SyncData);
        let ranges = plan.unsynced.remove(&self.name).unwrap_or_default();
        if let Err(error) = outcome {
            plan.lost.entry(self.name.clone()).or_default().extend(ranges);
            return Err(error);
        }
        drop(plan);
        self.real.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut plan = self.plan.lock().unwrap();
        plan.fail(Call::Truncate)?;
        plan.truncate(&self.name, length);
        self.real.truncate(length)
    }
}
