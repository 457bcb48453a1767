/* Family D: new processes, new privileges, other doors into the kernel. */
#include "attack.h"
#include <asm/unistd.h>

enum { SIGCHLD_ = 17, NEWNS = 0x20000, NEWCGROUP = 0x2000000, NEWUTS = 0x4000000 };
enum { NEWIPC = 0x8000000, NEWUSER = 0x10000000, NEWPID = 0x20000000, NEWNET = 0x40000000 };

ENTRY

static u32 namespace_of(u32 which)
{
    switch (which) {
    case 0: return NEWUSER;
    case 1: return NEWNS;
    case 2: return NEWPID;
    case 3: return NEWNET;
    case 4: return NEWIPC;
    case 5: return NEWUTS;
    case 6: return NEWCGROUP;
    default: return 0x80; /* time */
    }
}

/* A child ends at once. */
static int child(i64 flags)
{
    i64 pid = CALL(__NR_clone, flags | SIGCHLD_, 0, 0, 0, 0);
    if (pid == 0)
        CALL(__NR_exit_group, 0);
    return word(pid);
}

/* Stops at eight, which is enough to show that nobody counts. */
static int bomb(void)
{
    int last = NOTHING;
    for (int i = 0; i < 8; i++) {
        last = child(0);
        if (last != THROUGH)
            return last;
    }
    return last;
}

static int thread(u8 *room)
{
    /* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM */
    i64 flags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000;
    i64 tid;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n mov $60, %%eax\n syscall\n 1:"
                     : "=a"(tid)
                     : "a"(__NR_clone), "D"(flags), "S"(room + 65536), "d"(0)
                     : "rcx", "r11", "memory", "r10", "r8");
    return word(tid);
}

/* Outlives its parents for as long as a signal is not sent to it. */
static int daemon(void)
{
    i64 pid = CALL(__NR_clone, SIGCHLD_, 0, 0, 0, 0);
    if (pid == 0) {
        CALL(__NR_setsid);
        if (CALL(__NR_clone, SIGCHLD_, 0, 0, 0, 0) != 0)
            CALL(__NR_exit_group, 0);
        i64 time[2] = {5, 0};
        CALL(__NR_nanosleep, time, 0);
        CALL(__NR_exit_group, 0);
    }
    return word(pid);
}

static int change_id(u32 which)
{
    switch (which) {
    case 0: return word(CALL(__NR_setuid, 0));
    case 1: return word(CALL(__NR_setgid, 0));
    case 2: return word(CALL(__NR_setresuid, 0, 0, 0));
    case 3: return word(CALL(__NR_setgroups, 0, 0));
    default: return CALL(__NR_setfsuid, 0) == 0 ? THROUGH : NOTHING;
    }
}

/* Asks for every capability there is, and for those it has. */
static int capabilities(int ask)
{
    u32 header[2] = {0x20080522, 0}, sets[6] = {0};
    if (ask) {
        i64 done = CALL(__NR_capget, header, sets);
        return done < 0 ? word(done) : sets[0] | sets[1] | sets[3] | sets[4] ? THROUGH : NOTHING;
    }
    for (int i = 0; i < 6; i++)
        sets[i] = i < 3 ? ~0u : 0x1ff;
    return word(CALL(__NR_capset, header, sets));
}

static int call_32_bit(i64 number)
{
    i64 done;
    __asm__ volatile("int $0x80" : "=a"(done) : "a"(number) : "r8", "r9", "r10", "r11", "memory");
    return word((int)done);
}

static int one_of_many(u32 which, u8 *room)
{
    switch (which) {
    case 0: return word(CALL(__NR_add_key, "user", "a", "b", 1, -3));
    case 1: return word(CALL(__NR_request_key, "user", "a", 0, -3));
    case 2: return word(CALL(__NR_keyctl, 0, -3, 0));
    case 3: return word(CALL(__NR_bpf, 0, room, 128));
    case 4: return word(CALL(__NR_perf_event_open, room, 0, -1, -1, 0));
    case 5: return word(CALL(__NR_userfaultfd, 0));
    case 6: return word(CALL(__NR_init_module, room, 16, ""));
    case 7: return word(CALL(__NR_finit_module, 0, "", 0));
    case 8: return word(CALL(__NR_delete_module, "dummy", 0));
    case 9: return word(CALL(__NR_kexec_load, 0, 0, 0, 0));
    case 10: return word(CALL(__NR_personality, 0x0040000));
    case 11: return word(CALL(__NR_memfd_create, "m", 0));
    case 12: return word(CALL(__NR_shmget, 0x1234, 4096, 01666));
    case 13: return word(CALL(__NR_mq_open, "q", 0102, 0600, 0));
    case 14: return word(CALL(__NR_msgget, 0x1234, 01666));
    case 15: return word(CALL(__NR_semget, 0x1234, 1, 01666));
    case 16: return word(CALL(__NR_reboot, 0xfee1dead, 672274793, 0, 0)); /* CAD off */
    case 17: return word(CALL(__NR_swapon, "/", 0));
    case 18: return word(CALL(__NR_clock_settime, 0, room));
    case 19: return word(CALL(__NR_iopl, 3));
    case 20: return word(CALL(__NR_ioperm, 0x80, 1, 1));
    case 21: return word(CALL(__NR_sethostname, "owned", 5));
    case 22: return word(CALL(__NR_acct, 0));
    case 23: return word(CALL(__NR_syslog, 3, room, 256));
    case 24: return word(CALL(__NR_quotactl, 0x800001, 0, 0, room));
    case 25: return word(CALL(__NR_memfd_secret, 0));
    case 26: return word(CALL(__NR_adjtimex, room));
    case 27: return word(CALL(__NR_vhangup));
    default: return word(CALL(__NR_setns, which - 28, 0));
    }
}

static int relax(u32 which, u8 *room)
{
    u64 *rule = (u64 *)room;
    rule[0] = 0x7fff000000000006; /* return ALLOW */
    u64 *program = rule + 2;
    program[0] = 1, program[1] = (u64)rule;
    switch (which) {
    case 0: return word(CALL(__NR_seccomp, 1, 0, program));
    case 1: return word(CALL(__NR_prctl, 22, 0, 0, 0, 0));
    case 2: return word(CALL(__NR_seccomp, 1, 8, program)); /* a listener */
    default: return word(CALL(__NR_landlock_create_ruleset, program, 8, 0));
    }
}

/* Counts, for `attack reach`: the status is the count plus ten. */
static int count_capabilities(void)
{
    u32 header[2] = {0x20080522, 0}, sets[6] = {0}, all = 0;
    if (CALL(__NR_capget, header, sets) < 0)
        return NOTHING;
    for (int i = 0; i < 6; i++)
        for (u32 bits = sets[i]; bits; bits &= bits - 1)
            all++;
    return 10 + (all > 80 ? 80 : (int)all);
}

static int path_is_there(const char *path, u8 *room)
{
    return CALL(__NR_newfstatat, -100, path, room, 0) == 0;
}

static int count_paths(u8 *room)
{
    int found = 0;
    found += path_is_there("/artifact", room) + path_is_there("/etc", room);
    found += path_is_there("/proc", room) + path_is_there("/sys", room);
    found += path_is_there("/dev", room) + path_is_there("/tmp", room);
    found += path_is_there("/usr", room) + path_is_there("/root", room);
    found += path_is_there("/home", room) + path_is_there("/var", room);
    found += path_is_there("/run", room) + path_is_there("../etc", room);
    i64 root = CALL(__NR_openat, -100, "/", 0200000, 0);
    if (root >= 0)
        found += CALL(__NR_getdents64, root, room, 4096) > 48; /* more than `.` and `..` */
    return 10 + found;
}

static int count_descriptors(void)
{
    int found = 0;
    for (int fd = 0; fd < 1024; fd++)
        found += CALL(__NR_fcntl, fd, 1) >= 0;
    return 10 + (found > 80 ? 80 : found);
}

static int attempt(struct order *order, u8 *room)
{
    u32 which = order->argument;
    switch (order->attempt) {
    case 1: return word(CALL(__NR_unshare, namespace_of(which)));
    case 2: return child(namespace_of(which));
    case 3: return bomb();
    case 4: return thread(room);
    case 5: return daemon();
    case 6: return change_id(which);
    case 7: return capabilities(0);
    case 8: return one_of_many(which, room);
    case 9: return relax(which, room);
    case 10: return call_32_bit(20);              /* getpid */
    case 11: return word(CALL(0x40000000 + 39));  /* getpid, x32 */
    case 12: { u64 arguments[11] = {0, 0, 0, 0, SIGCHLD_};
        i64 pid = CALL(__NR_clone3, arguments, 88);
        if (pid == 0) CALL(__NR_exit_group, 0);
        return word(pid); }
    case 13: { i64 pid = CALL(__NR_vfork); if (pid == 0) CALL(__NR_exit_group, 0); return word(pid); }
    case 14: return capabilities(1);
    case 15: return word(CALL(which, 0, 0, 0, 0, 0, 0)); /* any call at all */
    case 18: return word(CALL(which, 0, 4096, which == __NR_mmap ? 1 : 4, 0x22, -1, 0));
    case 19: return count_capabilities();
    case 20: return count_paths(room);
    case 21: return count_descriptors();
    case 22: { /* as a template copies itself, with a guess at its pass: 0x8000 is CLONE_PARENT */
        i64 pid = CALL(__NR_clone, 0x8000 | SIGCHLD_, 0, 0, 0, 0, which ? 0x6c617a6172657421 : 0);
        if (pid == 0) CALL(__NR_exit_group, 0);
        return word(pid); }
    case 16: return word(CALL(__NR_write, (1ul << 32), "x", 1)); /* an argument's upper half */
    }
    return NOTHING;
}
