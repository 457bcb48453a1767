//! What a copy has mapped before its call comes.
//!
//! The kernel copies no place of a file's pages at a fork. So a copy would find the text of the program, that of the artifact, and
//! what the loader has filled in page by page, or two megabytes by two, and a call would wait for each of these faults. One call
//! for each of these finds its pages (`madvise(2)`, MADV_POPULATE_READ, Linux 5.14), before anybody waits.

use std::ops::Range;
use std::os::fd::AsFd;

use crate::memfd::{self, LargePlace};
use crate::sys::{self, Way};

/// Text that copies have mapped wherever it lies: in small pages that takes some 1.5 us for 64 KiB.
const SMALL_TEXT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Pages that a template's copies will read.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pages: Vec<Range<usize>>,
    /// Where the artifact is to lie in large pages.
    large: Option<LargePlace>,
    /// The artifact's text, which is sealed.
    text: Vec<Range<usize>>,
    /// What of it large pages do not hold wholly.
    text_ends: Vec<Range<usize>>,
    /// What the template has written to and would lie in large pages.
    pub(crate) to_gather: Option<Range<usize>>,
}

impl Ahead {
    /// Adds some. What lies behind others is found together with them.
    pub(crate) fn add(&mut self, pages: Range<usize>) {
        match self.pages.iter_mut().find(|before| before.end == pages.start) {
            Some(before) => before.end = pages.end,
            None => self.pages.push(pages),
        }
    }

    /// The artifact is about to be loaded.
    pub(crate) fn expect(&mut self, artifact: impl AsFd) {
        self.large =
            memfd::gather(artifact.as_fd()).ok().and_then(|()| LargePlace::ready(artifact));
    }

    /// What is to be sealed with this text of the artifact's.
    pub(crate) fn of_sealed(&mut self, text: &[&[u8]]) -> &[Range<usize>] {
        self.large = self.large.take().filter(|place| text.iter().all(|text| place.has(text)));
        let whole = |text: &&[u8]| match &self.large {
            Some(place) => place.with_header(text),
            None => sys::large::addresses(text),
        };
        self.text = text.iter().map(whole).collect();
        &self.text
    }

    /// Adds that text.
    pub(crate) fn add_text(&mut self) {
        let pages = |Range { start, end }: Range<usize>| {
            start - start % sys::PAGE_BYTES..end.next_multiple_of(sys::PAGE_BYTES)
        };
        for text in std::mem::take(&mut self.text).into_iter().map(pages) {
            if self.large.is_none() {
                if text.len() <= SMALL_TEXT_BYTES_MAX {
                    self.add(text);
                }
                continue;
            }
            let large_end = text.end - text.end % sys::LARGE_PAGE_BYTES;
            let large_start = text.start.next_multiple_of(sys::LARGE_PAGE_BYTES).min(large_end);
            if large_start < large_end {
                self.add(large_start..large_end);
            }
            let ends =
                [text.start..large_start.max(text.start), large_end.max(text.start)..text.end];
            self.text_ends.extend(ends.into_iter().filter(|end| !end.is_empty()));
        }
    }

    /// Has the kernel find the ends of that text too.
    pub(crate) fn find_text_ends(&self, way: Way) {
        for pages in &self.text_ends {
            let _ = sys::large::find_ahead(way, pages);
        }
    }

    /// Has what the template has written to in large pages now, and adds it.
    pub(crate) fn gather(&mut self, way: Way) {
        if let Some(pages) = self.to_gather.take()
            && sys::large::gather(way, &pages).is_ok()
        {
            self.add(pages);
        }
    }

    /// Has the kernel find them. What it does not find now is found when it is touched.
    pub(crate) fn find(&self, way: Way) {
        for pages in &self.pages {
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
        assert_eq!(ahead.pages, [0..6, 8..9]);
    }
}
