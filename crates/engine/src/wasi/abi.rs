//! Numbers of WASI preview 1, as they cross the border: error codes, rights, flags, file types.
//!
//! Source: `wasi_snapshot_preview1.witx` of the WebAssembly/WASI repository.

/// An error code that a program is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[allow(missing_docs)]
pub(crate) enum Errno {
    BadDescriptor = 8,
    Exists = 20,
    Fault = 21,
    FileTooLarge = 22,
    Invalid = 28,
    IsDirectory = 31,
    Loop = 32,
    TooManyDescriptors = 33,
    NameTooLong = 37,
    NoEntry = 44,
    NoMemory = 48,
    NoSpace = 51,
    NotDirectory = 54,
    NotEmpty = 55,
    NotSocket = 57,
    NotPermitted = 63,
    Pipe = 64,
    ReadOnly = 69,
    Seek = 70,
    CrossDevice = 75,
    NotCapable = 76,
}

/// What may be done with a descriptor.
pub(crate) mod rights {
    pub(crate) const FD_DATASYNC: u64 = 1;
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_SEEK: u64 = 1 << 2;
    pub(crate) const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
    pub(crate) const FD_SYNC: u64 = 1 << 4;
    pub(crate) const FD_TELL: u64 = 1 << 5;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    pub(crate) const FD_ADVISE: u64 = 1 << 7;
    pub(crate) const FD_ALLOCATE: u64 = 1 << 8;
    pub(crate) const PATH_CREATE_DIRECTORY: u64 = 1 << 9;
    pub(crate) const PATH_CREATE_FILE: u64 = 1 << 10;
    pub(crate) const PATH_LINK_SOURCE: u64 = 1 << 11;
    pub(crate) const PATH_LINK_TARGET: u64 = 1 << 12;
    pub(crate) const PATH_OPEN: u64 = 1 << 13;
    pub(crate) const FD_READDIR: u64 = 1 << 14;
    pub(crate) const PATH_READLINK: u64 = 1 << 15;
    pub(crate) const PATH_RENAME_SOURCE: u64 = 1 << 16;
    pub(crate) const PATH_RENAME_TARGET: u64 = 1 << 17;
    pub(crate) const PATH_FILESTAT_GET: u64 = 1 << 18;
    pub(crate) const PATH_FILESTAT_SET_SIZE: u64 = 1 << 19;
    pub(crate) const PATH_FILESTAT_SET_TIMES: u64 = 1 << 20;
    pub(crate) const FD_FILESTAT_GET: u64 = 1 << 21;
    pub(crate) const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    pub(crate) const FD_FILESTAT_SET_TIMES: u64 = 1 << 23;
    pub(crate) const PATH_SYMLINK: u64 = 1 << 24;
    pub(crate) const PATH_REMOVE_DIRECTORY: u64 = 1 << 25;
    pub(crate) const PATH_UNLINK_FILE: u64 = 1 << 26;
    pub(crate) const POLL_FD_READWRITE: u64 = 1 << 27;

    /// Of a file that can be read and nothing else.
    pub(crate) const FILE_READ: u64 = FD_READ
        | FD_SEEK
        | FD_TELL
        | FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_DATASYNC
        | FD_ADVISE
        | FD_FILESTAT_GET
        | POLL_FD_READWRITE;

    /// Of a file.
    pub(crate) const FILE: u64 =
        FILE_READ | FD_WRITE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE | FD_FILESTAT_SET_TIMES;

    /// Of a directory in which nothing can be changed.
    pub(crate) const DIRECTORY_READ: u64 = PATH_OPEN
        | FD_READDIR
        | PATH_READLINK
        | PATH_FILESTAT_GET
        | FD_FILESTAT_GET
        | FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_DATASYNC;

    /// Of a directory.
    pub(crate) const DIRECTORY: u64 = DIRECTORY_READ
        | PATH_CREATE_DIRECTORY
        | PATH_CREATE_FILE
        | PATH_LINK_SOURCE
        | PATH_LINK_TARGET
        | PATH_RENAME_SOURCE
        | PATH_RENAME_TARGET
        | PATH_FILESTAT_SET_SIZE
        | PATH_FILESTAT_SET_TIMES
        | FD_FILESTAT_SET_TIMES
        | PATH_SYMLINK
        | PATH_REMOVE_DIRECTORY
        | PATH_UNLINK_FILE;

    /// Of a standard stream.
    pub(crate) const STREAM: u64 = FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_DATASYNC
        | FD_ADVISE
        | FD_FILESTAT_GET
        | POLL_FD_READWRITE;
}

/// Flags of an open file.
pub(crate) mod fd_flags {
    pub(crate) const APPEND: u32 = 1;
    /// All there are.
    pub(crate) const ALL: u32 = 31;
}

/// Flags of opening by a path.
pub(crate) mod open_flags {
    pub(crate) const CREATE: u32 = 1;
    pub(crate) const DIRECTORY: u32 = 2;
    pub(crate) const EXCLUSIVE: u32 = 4;
    pub(crate) const TRUNCATE: u32 = 8;
    /// All there are.
    pub(crate) const ALL: u32 = 15;
}

/// Which times to set.
pub(crate) mod time_flags {
    pub(crate) const ACCESSED: u32 = 1;
    pub(crate) const ACCESSED_NOW: u32 = 2;
    pub(crate) const MODIFIED: u32 = 4;
    pub(crate) const MODIFIED_NOW: u32 = 8;
    /// All there are.
    pub(crate) const ALL: u32 = 15;
}

/// The one flag of looking up a path.
pub(crate) const SYMLINK_FOLLOW: u32 = 1;

/// What kind of thing a descriptor or entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    /// A standard stream: neither a terminal nor a file.
    Unknown = 0,
    Directory = 3,
    Regular = 4,
    SymbolicLink = 7,
}

/// The two generations of preview 1, which differ in a few layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// `wasi_unstable`, of 2019.
    Unstable,
    /// `wasi_snapshot_preview1`.
    Preview1,
}

/// What is told of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStat {
    pub(crate) device: u64,
    pub(crate) node: u64,
    pub(crate) file_type: FileType,
    pub(crate) links: u64,
    pub(crate) bytes: u64,
    pub(crate) accessed_ns: u64,
    pub(crate) modified_ns: u64,
    pub(crate) changed_ns: u64,
}

impl FileStat {
    /// As the program of that generation reads it.
    pub(crate) fn encode(&self, generation: Generation) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend(self.device.to_le_bytes());
        out.extend(self.node.to_le_bytes());
        match generation {
            Generation::Unstable => {
                out.extend([self.file_type as u8, 0, 0, 0]);
                out.extend((self.links as u32).to_le_bytes());
            }
            Generation::Preview1 => {
                out.extend([self.file_type as u8, 0, 0, 0, 0, 0, 0, 0]);
                out.extend(self.links.to_le_bytes());
            }
        }
        for number in [self.bytes, self.accessed_ns, self.modified_ns, self.changed_ns] {
            out.extend(number.to_le_bytes());
        }
        out
    }
}
