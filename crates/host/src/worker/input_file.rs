//! A worker's input file: a memory file to which the host writes one large input after another.
//!
//! Making a memory file for each and freeing it takes longer than writing to one that is there. This one is
//! not sealed. In place of seals there are two things: worker and jobs have a descriptor that cannot write,
//! and the host writes only while it holds the worker's lease and before it sends the work. Whoever read the
//! last input has then been reaped. A template and the copies that wait never have the descriptor; a copy gets it
//! with its call. And of a longer input nothing is left when the next is there.
//!
//! An input can begin later than the file does, by less than a page, so that its pages are those that the guest will see:
//! a job then maps them there and copies nothing. How much later is what a job of that artifact said the last time; one that
//! lies costs its next call a copy.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    sync::Arc,
};

use crate::blob;

/// The most bytes of an input that is put in a worker's input file. So much memory may stay with each worker.
pub(crate) const INPUT_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct InputFile {
    file: File,
    read_only: Arc<File>,
}

impl InputFile {
    /// An empty one. Needs `/proc`: to open a file anew is what gives a descriptor that cannot write.
    pub(crate) fn new() -> io::Result<Self> {
        let file = File::from(blob::create_named(c"lazaret-input")?);
        let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Ok(Self { file, read_only: Arc::new(read_only) })
    }

    /// Puts these bytes in it from `at` on, one piece after another, and nothing else. Gives what a job may have
    /// of it.
    pub(crate) fn put(&self, at: u16, pieces: &[Vec<u8>]) -> io::Result<Arc<File>> {
        self.file.write_all_at(&vec![0; at.into()], 0)?;
        let mut bytes = u64::from(at);
        for piece in pieces {
            self.file.write_all_at(piece, bytes)?;
            bytes += piece.len() as u64;
        }
        self.file.set_len(bytes)?;
        Ok(self.read_only.clone())
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{SealFlags, fcntl_add_seals};

    use super::*;

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    #[test]
    fn of_a_longer_input_nothing_is_left_behind_the_next() {
        let input_file = InputFile::new().unwrap();
        let long = vec![1; 9_000];
        for pieces in [&[long.clone(), vec![2]][..], &[vec![3; 5]], &[], &[long]] {
            for at in [0, 7] {
                let put = input_file.put(at, pieces).unwrap();
                assert_eq!(content(&put), [vec![0; at.into()], pieces.concat()].concat());
            }
        }
        // What grows again begins with nothing in it.
        let read_only = input_file.put(0, &[vec![4; 5]]).unwrap();
        input_file.file.set_len(9_000).unwrap();
        assert!(content(&read_only)[5..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn who_may_read_can_neither_write_nor_resize_nor_seal() {
        let input_file = InputFile::new().unwrap();
        let read_only = input_file.put(0, &[vec![1; 3]]).unwrap();
        assert!(read_only.write_all_at(b"x", 0).is_err());
        assert!(read_only.set_len(1).is_err() && read_only.set_len(9).is_err());
        assert!(fcntl_add_seals(&read_only, SealFlags::WRITE).is_err());
        assert_eq!(content(&input_file.put(0, &[vec![2; 4]]).unwrap()), [2; 4]);
    }
}
