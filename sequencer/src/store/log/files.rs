//! The files below the order log: the few calls that it makes, behind traits, so that tests can put
//! failures between the log and the real files. Does not know what is in a file, never retries, and
//! reports a short write instead of completing it.

use std::{
    fmt::Debug,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// One directory of files.
pub trait LogFiles: Debug + Send + Sync {
    /// Creates a file, or empties it where there is one.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;

    /// Opens a file that exists, to read and write.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;

    /// Names of the files in the directory, in any order.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations and removals durable.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn sync_directory(&self) -> io::Result<()>;

    /// Where a file is, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// One open file.
pub trait LogFile: Debug + Send {
    /// Size in bytes.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn length(&self) -> io::Result<u64>;

    /// Reads at most `buffer.len()` bytes at `offset`; fewer at the end of the file.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes `bytes` at `offset`, or a part of them; how many it wrote.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Makes the content durable, and the size where reading it back needs it.
    ///
    /// # Errors
    /// As the operating system reports it. What was written since the last success may be lost then,
    /// whatever a later call says.
    fn sync_data(&self) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// As the operating system reports it.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// A directory of the operating system.
#[derive(Clone, Debug)]
pub struct DirectoryFiles {
    directory: PathBuf,
    is_read_only: bool,
}

impl DirectoryFiles {
    /// The files in `directory`, which is created where it is absent.
    ///
    /// # Errors
    /// When it can neither be found nor created.
    pub fn new(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        // The directory's own entry must survive a crash, too.
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { directory: directory.to_owned(), is_read_only: false })
    }

    /// The files in `directory` for reading only: nothing is created, and a directory that is absent
    /// has no files.
    #[must_use]
    pub fn reader(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), is_read_only: true }
    }

    fn writable(&self) -> io::Result<()> {
        if self.is_read_only { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }

    fn with(&self, options: &OpenOptions, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(options.open(self.path(name))?))
    }
}

impl LogFiles for DirectoryFiles {
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.writable()?;
        self.with(OpenOptions::new().read(true).write(true).create(true).truncate(true), name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.with(OpenOptions::new().read(true).write(!self.is_read_only), name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if self.is_read_only && error.kind() == io::ErrorKind::NotFound => {
                return Ok(names);
            }
            entries => entries?,
        };
        for entry in entries {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        std::fs::remove_file(self.path(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl LogFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
