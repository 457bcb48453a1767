//! Where a host may make its control groups: a directory that it is given, or the one that was
//! delegated to it (<https://systemd.io/CGROUP_DELEGATION>).

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access, getxattr, statfs},
    process::{geteuid, getpid},
};

use super::group::{During, Group, Refusal};

/// Of the file system, as `statfs(2)` tells it.
const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// What systemd marks a delegated group with: the first for root's services, the second for others.
const DELEGATED_MARKS: [&str; 2] = ["trusted.delegate", "user.delegate"];
/// Where the program itself goes, because a group that gives controllers to those below it may have
/// no process of its own.
const PROGRAM_GROUP: &str = "lazaret-program";
/// The controllers that bound a job.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// Where a host makes control groups for its jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the group that was delegated to this program, if one was.
    #[default]
    Delegated,
    /// In this directory, which nobody else uses.
    At(PathBuf),
    /// Nowhere.
    Nowhere,
}

/// Finds the group to make others in. `Err` in the second place says why their limits cannot be set.
pub(super) fn find(place: &Place) -> Result<(Group, Result<(), Refusal>), Refusal> {
    match place {
        Place::Nowhere => Err(Refusal::absent("the host was told to use none")),
        Place::At(directory) => {
            let kind = statfs(directory).map_err(Into::into).during("statfs of --cgroup")?;
            if kind.f_type as u64 != CGROUP2_MAGIC {
                return Err(Refusal { call: "a directory of cgroup2 as --cgroup", errno: 0 });
            }
            let group = Group::at(directory.clone());
            let enabled = enable(&group);
            Ok((group, enabled))
        }
        Place::Delegated => {
            let group = delegated()?;
            // Without controllers it is not worth a change to anybody's tree.
            enable_around_program(&group)?;
            Ok((group, Ok(())))
        }
    }
}

/// Gives the groups below this one the controllers that bound a job.
pub(super) fn enable(group: &Group) -> Result<(), Refusal> {
    let offered = group.read("cgroup.controllers").during("read cgroup.controllers")?;
    let enabled = group.read("cgroup.subtree_control").during("read cgroup.subtree_control")?;
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    if !CONTROLLERS.iter().all(|name| has(&offered, name)) {
        return Err(Refusal::absent("memory and pids in cgroup.controllers"));
    }
    for name in CONTROLLERS.iter().filter(|name| !has(&enabled, name)) {
        let enable = group.write("cgroup.subtree_control", &format!("+{name}"));
        enable.during("write cgroup.subtree_control")?;
    }
    Ok(())
}

/// The same in a group in which this program may stand itself: it steps aside, if it is alone.
fn enable_around_program(group: &Group) -> Result<(), Refusal> {
    match enable(group) {
        Err(refusal) if refusal.is_busy() => {}
        enabled => return enabled,
    }
    let me = getpid().as_raw_nonzero().to_string();
    let processes = group.read("cgroup.procs").during("read cgroup.procs")?;
    if processes.trim() != me {
        return Err(Refusal::absent("being alone in the delegated control group"));
    }
    let aside = match group.make(PROGRAM_GROUP) {
        // Of a program that stood here before this one.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Group::at(group.file(PROGRAM_GROUP))
        }
        made => made.during("mkdir in the delegated control group")?,
    };
    aside.write("cgroup.procs", &me).during("write cgroup.procs")?;
    enable(group)
}

fn delegated() -> Result<Group, Refusal> {
    let absent = || Refusal::absent("a delegated control group");
    let own = own_directory().ok_or_else(absent)?;
    let above = own.parent().unwrap_or(&own);
    // `DelegateSubgroup=` puts the program below what was delegated, and so does an earlier host of
    // this process.
    let stepped_aside = own.file_name().is_some_and(|name| name == PROGRAM_GROUP);
    let is_below = !is_marked(&own) && !is_unit(&own) && is_marked(above);
    let directory = match stepped_aside || is_below {
        true => above,
        false => &own,
    };
    let is_ours = is_marked(directory) || is_owned(directory);
    match is_ours && access(directory, Access::WRITE_OK).is_ok() {
        true => Ok(Group::at(directory.to_owned())),
        false => Err(absent()),
    }
}

/// A group of systemd's own making: what stands above is systemd's, even if it is marked as delegated
/// to the systemd of a user.
fn is_unit(directory: &Path) -> bool {
    let extension = directory.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("service" | "scope" | "slice"))
}

fn is_marked(directory: &Path) -> bool {
    let mut value = [0; 8];
    DELEGATED_MARKS
        .iter()
        .any(|mark| matches!(getxattr(directory, *mark, &mut value), Ok(1) if value[0] == b'1'))
}

/// By an ordinary user: to root everything belongs.
fn is_owned(directory: &Path) -> bool {
    let me = geteuid();
    !me.is_root() && fs::metadata(directory).is_ok_and(|kept| kept.uid() == me.as_raw())
}

/// The directory of the group that this process is in.
fn own_directory() -> Option<PathBuf> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let group = group.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| directory_of(Path::new(group), line))
}

/// Where a group is by one line of `mountinfo` (proc_pid_mountinfo(5)), if that is of cgroup2: fourth
/// what is mounted, fifth where, and after a dash the file system.
fn directory_of(group: &Path, line: &str) -> Option<PathBuf> {
    let (mount, file_system) = line.split_once(" - ")?;
    if file_system.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    let (root, mounted) = (fields.next()?, fields.next()?);
    Some(Path::new(mounted).join(group.strip_prefix(root).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_where_its_file_system_is_mounted() {
        let found = |group: &str, line| directory_of(Path::new(group), line);
        let whole =
            "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let part = "35 24 0:30 /docker/a /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let other = "36 24 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        let unit = "/system.slice/lazaret.service";
        let expected = format!("/sys/fs/cgroup{unit}");
        assert_eq!(found(unit, whole), Some(expected.into()));
        assert_eq!(found("/docker/a/b", part), Some("/sys/fs/cgroup/b".into()));
        assert_eq!(found("/elsewhere", part), None);
        assert_eq!(found("/", other), None);
    }
}
