/* Family A: files, mounts, programs. */
#include "attack.h"
#include <asm/unistd.h>

enum { HERE = -100, O_WRONLY = 1, O_CREAT = 0100, O_DIRECTORY = 0200000, O_PATH = 010000000 };
/* Descriptors worth trying: the limit of a job, and then some. */
enum { FDS = 1024 };

ENTRY

static i64 open(const char *path, int flags)
{
    return CALL(__NR_openat, HERE, path, flags, 0600);
}

static int look_through_descriptors(void)
{
    int last = NOTHING;
    for (int fd = 0; fd < FDS; fd++) {
        if (CALL(__NR_fchdir, fd) == 0)
            return THROUGH;
        TRY(CALL(__NR_openat, fd, "etc/shadow", 0, 0));
    }
    return last;
}

static int change_names(u32 which)
{
    switch (which) {
    case 0: return word(open("/a", O_CREAT | O_WRONLY));
    case 1: return word(CALL(__NR_mkdirat, HERE, "/a", 0700));
    case 2: return word(CALL(__NR_unlinkat, HERE, "/artifact", 0));
    case 3: return word(CALL(__NR_renameat2, HERE, "/artifact", HERE, "/b", 0));
    case 4: return word(CALL(__NR_mknodat, HERE, "/n", 0010644, 0));
    case 5: return word(CALL(__NR_symlinkat, "/etc", HERE, "/s"));
    default: return word(CALL(__NR_linkat, HERE, "/artifact", HERE, "/l", 0));
    }
}

static int truncate_artifact(void)
{
    int last = NOTHING;
    TRY(CALL(__NR_truncate, "/artifact", 0));
    for (int fd = 1; fd < 64; fd++)
        TRY(CALL(__NR_ftruncate, fd, 0));
    return last;
}

static int change_metadata(u32 which)
{
    i64 now = 0;
    switch (which) {
    case 0: return word(CALL(__NR_chmod, "/artifact", 0));
    case 1: return word(CALL(__NR_chown, "/artifact", 1, 1));
    case 2: return word(CALL(__NR_utimensat, HERE, "/artifact", 0, 0));
    case 3: return word(CALL(__NR_setxattr, "/artifact", "user.a", &now, 8, 0));
    case 4: return word(CALL(__NR_chmod, "/", 0777));
    default: return word(CALL(__NR_setxattr, "/", "user.a", &now, 8, 0));
    }
}

/* Through whatever descriptors there are beside the channel. */
static int change_metadata_of_descriptors(u32 which)
{
    int last = NOTHING;
    i64 now = 0;
    for (int fd = 1; fd < 64; fd++) {
        switch (which) {
        case 0: TRY(CALL(__NR_fchmod, fd, 0)); break;
        case 1: TRY(CALL(__NR_fchown, fd, 1, 1)); break;
        case 2: TRY(CALL(__NR_fsetxattr, fd, "user.a", &now, 8, 0)); break;
        case 3: TRY(CALL(__NR_pwrite64, fd, "x", 1, 0)); break;
        default: TRY(CALL(__NR_fallocate, fd, 0, 0, 1 << 20)); break;
        }
    }
    return last;
}

static int write_own_text(int unprotect)
{
    volatile u8 *text = (volatile u8 *)((u64)&entry & ~4095ul);
    if (unprotect) {
        i64 done = CALL(__NR_mprotect, text, 4096, 7);
        if (done < 0)
            return word(done);
    }
    *text = 0xc3;
    return THROUGH;
}

static int map_artifact_shared(void)
{
    int last = NOTHING;
    for (int fd = 1; fd < 16; fd++)
        TRY(CALL(__NR_mmap, 0, 4096, 3, 1, fd, 0));
    return last;
}

static int open_canary(struct order *order)
{
    char path[sizeof order->canary];
    for (u32 i = 0; i < sizeof path; i++)
        path[i] = (char)(order->canary[i] ^ MASK);
    return word(open(path, 0));
}

static int open_one_of_many(u32 which, struct order *order)
{
    switch (which) {
    case 0: return word(open("/proc/self/mem", 2));
    case 1: return word(open("/proc/1/root/etc/shadow", 0));
    case 2: return word(open("/proc/self/exe", 0));
    case 3: return word(open("/sys/kernel", 0));
    case 4: return word(open("/dev/null", 2));
    case 5: return word(open("/dev/mem", 2));
    case 6: return word(open("/dev/kmsg", 2));
    case 7: return word(open("/proc/sys/kernel/core_pattern", 1));
    case 8: return word(open("/", O_DIRECTORY));
    default: return open_canary(order);
    }
}

static int execute_memory_file(void)
{
    i64 file = CALL(__NR_memfd_create, "x", 0);
    if (file < 0)
        return word(file);
    CALL(__NR_write, file, "#!/bin/sh\n", 10);
    return word(CALL(__NR_execveat, file, "", 0, 0, 0x1000));
}

static int mount_something(u32 which)
{
    i64 attributes[4] = {0, 1, 0, 0};
    switch (which) {
    case 0: return word(CALL(__NR_chroot, "/"));
    case 1: return word(CALL(__NR_pivot_root, ".", "."));
    case 2: return word(CALL(__NR_mount, "none", "/", "tmpfs", 0, 0));
    case 3: return word(CALL(__NR_mount, "/", "/", 0, 4096, 0));
    case 4: return word(CALL(__NR_mount, "none", "/", 0, 32, 0)); /* remount writable */
    case 5: return word(CALL(__NR_umount2, "/", 2));
    case 6: return word(CALL(__NR_fsopen, "tmpfs", 0));
    case 7: return word(CALL(__NR_open_tree, HERE, "/", 1));
    case 8: return word(CALL(__NR_move_mount, 0, "", HERE, "/", 4));
    case 9: return word(CALL(__NR_mount_setattr, HERE, "/", 0, attributes, 32));
    default: return word(CALL(__NR_fspick, HERE, "/", 0));
    }
}

static int attempt(struct order *order, u8 *room)
{
    u32 which = order->argument;
    switch (order->attempt) {
    case 1: return word(open("/etc/shadow", 0));
    case 2: return word(open("../../../../../../../../etc/shadow", 0));
    case 3: return look_through_descriptors();
    case 4: {
        u32 *handle = (u32 *)room; /* of inode 2, the root of most disks */
        handle[0] = 8, handle[1] = 1, handle[2] = 2, handle[3] = 0;
        return word(CALL(__NR_open_by_handle_at, HERE, handle, 0));
    }
    case 5: return change_names(which);
    case 6: return truncate_artifact();
    case 7: return change_metadata(which);
    case 8: return write_own_text(0);
    case 9: return write_own_text(1);
    case 10: return open_one_of_many(which, order);
    case 11: return map_artifact_shared();
    case 12: return change_metadata_of_descriptors(which);
    case 13: return word(CALL(__NR_execve, "/bin/sh", 0, 0));
    case 14: return execute_memory_file();
    case 15: return mount_something(which);
    case 16: return word(CALL(__NR_readlinkat, HERE, "/proc/self/exe", room, 256));
    }
    return NOTHING;
}
