//! How far a long walk over the tables has come, told to whoever waits for it. Does not print.

/// How far a walk is. Entries are those of the whole walk; what is passed over counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is done now: a table or a step.
    pub step: &'static str,
    /// Entries done so far.
    pub entries: u64,
    /// Entries in all, as far as that is known beforehand.
    pub entries_total: u64,
    /// Bytes of keys and values so far; of the file where one is read.
    pub bytes: u64,
    /// Bytes in all where a file is read, else 0; then these say how far it is.
    pub bytes_total: u64,
}

/// Told about progress; called often, so it decides itself when to say something.
pub type Report<'a> = &'a mut dyn FnMut(Progress);

/// Counts, and reports now and then.
pub(super) struct Meter<'a> {
    report: Report<'a>,
    progress: Progress,
    /// Entries at which the current step ends.
    step_end: u64,
}

/// Entries between two reports: some milliseconds of work.
const REPORT_ENTRIES: u64 = 4096;

impl<'a> Meter<'a> {
    pub(super) fn new(entries_total: u64, report: Report<'a>) -> Self {
        let progress = Progress { entries_total, ..Progress::default() };
        Self { report, progress, step_end: 0 }
    }

    /// Begins the next step, of so many entries at most; what the last one left out is done, too.
    pub(super) fn step(&mut self, name: &'static str, entries: u64) {
        self.progress.entries = self.step_end;
        self.step_end += entries;
        self.progress.step = name;
        (self.report)(self.progress);
    }

    /// One entry was done.
    pub(super) fn add(&mut self, bytes: usize) {
        let progress = &mut self.progress;
        progress.bytes += bytes as u64;
        // A table may be visited in several ways within a step.
        progress.entries = (progress.entries + 1).min(self.step_end);
        if progress.entries.is_multiple_of(REPORT_ENTRIES) {
            (self.report)(*progress);
        }
    }

    /// Progress is that of reading a file of so many bytes.
    pub(super) fn measure_bytes(&mut self, bytes_total: u64) {
        self.progress.bytes_total = bytes_total;
    }

    /// So many entries and bytes were read.
    pub(super) fn at_bytes(&mut self, step: &'static str, entries: u64, bytes: u64) {
        self.progress = Progress { step, entries, bytes, ..self.progress };
        (self.report)(self.progress);
    }

    /// Everything is done.
    pub(super) fn finish(mut self) -> Progress {
        self.progress.entries = self.step_end;
        (self.report)(self.progress);
        self.progress
    }
}
