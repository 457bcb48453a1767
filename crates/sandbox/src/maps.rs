//! What is mapped where, as long as a process can still ask (`proc_pid_maps(5)`).

use std::fs;
use std::io;
use std::ops::Range;

/// The pages of this process that have such a name.
pub(crate) fn named(wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Range<usize>>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    Ok(maps.lines().filter_map(|line| pages(line, &wanted)).collect())
}

/// Those of one line, if they have.
fn pages(line: &str, wanted: impl Fn(&str) -> bool) -> Option<Range<usize>> {
    line.split_whitespace().last().filter(|name| wanted(name))?;
    let (start, end) = line.split_once(' ')?.0.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_by_their_name() {
        let is_vvar = |name: &str| name == "[vvar]";
        let vvar = "7ffff7fc1000-7ffff7fc5000 r--p 00000000 00:00 0    [vvar]";
        assert_eq!(pages(vvar, is_vvar), Some(0x7fff_f7fc_1000..0x7fff_f7fc_5000));
        let heap = "555555559000-55555557a000 rw-p 00000000 00:00 0    [heap]";
        assert_eq!(pages(heap, is_vvar), None);
    }
}
