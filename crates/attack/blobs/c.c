/* Family C: other processes. Signals are number 0, which only asks whether one could be sent: an
 * attack that gets through must not harm the machine it was tried on. */
#include "attack.h"
#include <asm/unistd.h>

enum { PIDS = 70000 };

ENTRY

static int signal_every_pid(void)
{
    int last = NOTHING;
    i64 own = CALL(__NR_getpid);
    for (int pid = 1; pid < PIDS; pid++)
        if (pid != own && CALL(__NR_tgkill, own, pid, 0) < 0) /* nor a thread of its own */
            TRY(CALL(__NR_kill, pid, 0));
    return last;
}

static int read_others_memory(struct order *order, u8 *room, int write)
{
    u64 *local = (u64 *)room, *remote = local + 2;
    local[0] = (u64)(room + 64), local[1] = 8, remote[0] = 0x400000, remote[1] = 8;
    int last = NOTHING;
    i64 call = write ? __NR_process_vm_writev : __NR_process_vm_readv;
    for (int pid = 2; pid < 64; pid++)
        TRY(CALL(call, pid, local, 1, remote, 1, 0));
    TRY(CALL(call, order->host_pid, local, 1, remote, 1, 0));
    return last;
}

static int open_others(struct order *order)
{
    int last = NOTHING;
    for (int pid = 2; pid < 64; pid++)
        TRY(CALL(__NR_pidfd_open, pid, 0));
    TRY(CALL(__NR_pidfd_open, order->host_pid, 0));
    return last;
}

static int trace_others(struct order *order)
{
    int last = NOTHING;
    for (int pid = 2; pid < 64; pid++)
        TRY(CALL(__NR_ptrace, 16, pid, 0, 0));
    TRY(CALL(__NR_ptrace, 16, order->host_pid, 0, 0));
    return last;
}

static int end_by_loop_with_signals_blocked(void)
{
    u64 all = ~0ul;
    i64 done = CALL(__NR_rt_sigprocmask, 2, &all, 0, 8);
    if (done < 0)
        return word(done);
    for (;;)
        __asm__ volatile("pause");
}

static int attempt(struct order *order, u8 *room)
{
    u64 action[4] = {1, 0, 0, 0}; /* SIG_IGN */
    switch (order->attempt) {
    case 1: { /* 0 also where each single one was refused, so they are tried by themselves */
        i64 done = CALL(__NR_kill, -1, 0);
        return done == 0 ? signal_every_pid() : word(done);
    }
    case 2: return signal_every_pid();
    case 3: { /* the worker's process group, if it is the job's: SIGCONT changes nothing */
        i64 group = CALL(__NR_getpgid, 0);
        if (group < 0)
            return word(group);
        return group == CALL(__NR_getpid) ? NOTHING : word(CALL(__NR_kill, 0, 18));
    }
    case 4: return trace_others(order);
    case 5: return read_others_memory(order, room, 0);
    case 6: return read_others_memory(order, room, 1);
    case 7: return open_others(order);
    case 8: return word(CALL(__NR_pidfd_getfd, order->argument, 0, 0));
    case 9: return word(CALL(__NR_ioctl, order->reply, 0x5412, "x")); /* TIOCSTI */
    case 10: return word(CALL(__NR_prctl, 1, 0, 0, 0, 0));            /* PDEATHSIG */
    case 11: return word(CALL(__NR_prctl, 4, 1, 0, 0, 0));            /* dumpable */
    case 12: { u32 priority = 50; return word(CALL(__NR_sched_setscheduler, 0, 1, &priority)); }
    case 13: return word(CALL(__NR_setpriority, 0, 0, -20));
    case 14: return word(CALL(__NR_rt_sigaction, 15, action, 0, 8));
    case 15: return end_by_loop_with_signals_blocked();
    case 16: return CALL(__NR_kill, CALL(__NR_getpid), 19) == 0 ? NOTHING : word(-1); /* stop itself */
    case 17: return word(CALL(__NR_kill, order->host_pid, 0));
    case 18: return word(CALL(__NR_tgkill, order->host_pid, order->host_pid, 0));
    case 19: return word(CALL(__NR_rt_sigqueueinfo, order->host_pid, 0, room));
    case 20: return word(CALL(__NR_pidfd_send_signal, order->argument, 0, 0, 0));
    case 21: return word(CALL(__NR_process_madvise, order->argument, room, 1, 20, 0));
    case 22: return word(CALL(__NR_kcmp, order->host_pid, 1, 0, 0, 0));
    case 23: return word(CALL(__NR_prlimit64, order->host_pid, 7, 0, room));
    case 24: return word(CALL(__NR_getsid, order->host_pid));
    case 25: return word(CALL(__NR_prctl, 0x59616d61, -1, 0, 0, 0)); /* let all trace it */
    case 26: return word(CALL(__NR_migrate_pages, order->host_pid, 1, room, room));
    }
    return NOTHING;
}
