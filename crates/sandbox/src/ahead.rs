//! What a copy has mapped before its call comes.
//!
//! The kernel copies no place of a file's pages at a fork. So a copy would find the text of the program, that of the artifact, and
//! what the loader has filled in page by page, or two megabytes by two, and a call would wait for each of these faults. One call
//! for each of these finds its pages (`madvise(2)`, MADV_POPULATE_READ, Linux 5.14), before anybody waits.

use std::ops::Range;

use crate::sys::{self, Way};

/// Pages that a template's copies will read.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Vec<Range<usize>>);

impl Ahead {
    /// Adds some. What lies behind others is found together with them.
    pub(crate) fn add(&mut self, pages: Range<usize>) {
        match self.0.iter_mut().find(|before| before.end == pages.start) {
            Some(before) => before.end = pages.end,
            None => self.0.push(pages),
        }
    }

    /// Has the kernel find them. What it does not find now is found when it is touched.
    pub(crate) fn find(&self, way: Way) {
        for pages in &self.0 {
            let _ = sys::large::find_ahead(way, pages);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_side_by_side_is_one() {
        let mut ahead = Ahead::default();
        [0..4, 8..9, 4..6].into_iter().for_each(|pages| ahead.add(pages));
        assert_eq!(ahead.0, [0..6, 8..9]);
    }
}
