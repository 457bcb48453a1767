/* Family F: the machine's means: memory, time, files. */
#include "attack.h"
#include <asm/unistd.h>

/* More than any job of this host may have. Address space is asked for, hardly a page is touched: an
 * attack that gets through must not bring the machine down. */
enum { STEP = 64 << 20, STEPS = 160 };

ENTRY

static int take_memory(i64 flags)
{
    for (int i = 0; i < STEPS; i++) {
        i64 got = CALL(__NR_mmap, 0, STEP, 3, flags, -1, 0);
        if (got < 0 && got > -4096)
            return word(got);
        if (flags & 0x2000)
            return THROUGH; /* real memory: one step is enough */
        if (!(flags & 0x4000))
            *(volatile u8 *)got = 1;
    }
    return THROUGH;
}

static int take_by_brk(void)
{
    i64 begin = CALL(__NR_brk, 0);
    for (i64 end = begin, i = 0; i < STEPS; i++) {
        end += STEP;
        if (CALL(__NR_brk, end) != end)
            return REFUSED + 12;
    }
    return THROUGH;
}

static int take_by_growth(u8 *room)
{
    i64 at = CALL(__NR_mmap, 0, 4096, 3, 0x22, -1, 0);
    (void)room;
    for (i64 size = 4096, i = 1; i < STEPS; i++) {
        at = CALL(__NR_mremap, at, size, i * STEP, 1, 0);
        if (at < 0 && at > -4096)
            return word(at);
        size = i * STEP;
    }
    return THROUGH;
}

__attribute__((noinline)) static u64 recurse(u64 depth)
{
    volatile u8 here[512];
    here[depth & 511] = (u8)depth;
    return recurse(depth + 1) + here[depth & 511];
}

static int loop(void)
{
    for (;;)
        __asm__ volatile("pause");
    return 0;
}

/* Every signal blocked without a call that changes the mask: a return from a signal that never was
 * (rt_sigreturn takes the mask from the stack). */
static int loop_deaf(u8 *room)
{
    u64 *context = (u64 *)room; /* struct ucontext */
    fill(room, 0, 512);
    u64 *registers = context + 5;      /* after flags, link and the signal stack */
    registers[15] = (u64)(room + 65536); /* rsp */
    registers[16] = (u64)&loop;          /* rip */
    registers[17] = 0x202;               /* flags */
    registers[18] = 0x002b000000000033;  /* cs and ss */
    context[5 + 32] = ~0ul;              /* the mask */
    __asm__ volatile("mov %0, %%rsp\n mov $15, %%eax\n syscall" : : "r"(context) : "memory");
    return NOTHING;
}

static int wait_for(u32 which, u8 *room)
{
    i64 long_time[2] = {3600, 0};
    u32 word_ = 0;
    switch (which) {
    case 0: return word(CALL(__NR_nanosleep, long_time, 0));
    case 1: return word(CALL(__NR_pause));
    case 2: return word(CALL(__NR_futex, &word_, 0, 0, 0, 0, 0));
    case 3: return word(CALL(__NR_poll, 0, 0, -1));
    case 4: return word(CALL(__NR_select, 0, 0, 0, 0, 0));
    case 5: return word(CALL(__NR_clock_nanosleep, 0, 0, long_time, 0));
    case 6: { /* its channel, which has ended: nobody keeps it waiting */
        i64 done = CALL(__NR_read, 0, room, 1);
        return done == 0 ? NOTHING : word(done);
    }
    case 7: return word(CALL(__NR_rt_sigsuspend, room, 8));
    case 8: return word(CALL(__NR_wait4, -1, 0, 0, 0));
    default: return word(CALL(__NR_sched_yield));
    }
}

static int raise_a_limit(u32 resource)
{
    u64 before[2] = {0, 0}, none[2] = {~0ul, ~0ul};
    i64 done = CALL(__NR_prlimit64, 0, resource, 0, before);
    if (done < 0)
        return word(done);
    return before[1] == ~0ul ? NOTHING : word(CALL(__NR_prlimit64, 0, resource, none, 0));
}

static int fill_files(void)
{
    int last = NOTHING;
    for (int fd = 1; fd < 16; fd++)
        TRY(CALL(__NR_write, fd, "x", 1));
    return last;
}

static void put(struct order *order, const void *bytes, u64 count)
{
    CALL(__NR_write, order->reply, bytes, count);
}

/* Log lines without end, each with what moves a terminal's cursor. */
static int flood_log(struct order *order, u8 *room)
{
    const char line[] = "\x01\x2b\0\0\0\0\x08owned\x1b[2J\x20\x1b]0;t\x07\r\n\xe2\x80\xae" "abcdefghijklmnopqrst";
    (void)room;
    for (int i = 0; i < 100000; i++)
        put(order, line, 48);
    return 0;
}

/* How a copy asks its worker before it ends. */
enum { ASKING = 1 << 16 };

static int attempt(struct order *order, u8 *room)
{
    u32 which = order->argument;
    switch (order->attempt) {
    case 1: return take_memory(0x22);
    case 2: return take_memory(0x21);           /* shared */
    case 3: return take_memory(0x22 | 0x40000); /* huge */
    case 4: return take_memory(0x22 | 0x2000);  /* locked */
    case 5: { /* populated, a little */
        i64 got = CALL(__NR_mmap, 0, 4096, 3, 0x8022, -1, 0);
        return word(got); }
    case 6: return take_by_brk();
    case 7: return take_by_growth(room);
    case 8: return word(CALL(__NR_mlockall, 1));
    case 9: return (int)recurse(1) | 1;
    case 10: return loop();
    case 11: return loop_deaf(room);
    case 12: return wait_for(which, room);
    case 13: return raise_a_limit(which);
    case 14: __asm__ volatile("ud2"); return THROUGH;
    case 15: return word(CALL(__NR_dup, order->reply));
    case 16: return fill_files();
    case 17: return flood_log(order, room);
    case 18: return 0; /* well, and without a word */
    case 19: put(order, "\2\x0c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\3\0\0\0\0\1\0", 25); return 7;
    case 20: put(order, "\2\x0c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\3\0\0\0\0\1\0", 25);
             *(volatile int *)8 = 1; return 0;
    case 21: put(order, "\2\x0c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\3\0\0\0\0\1\0", 25); return loop();
    case 22: return take_memory(0x22 | 0x4000); /* not even touched */
    case 23: return word(CALL(__NR_write, 2, "\x1b[2J", 4));
    case 24: return word(CALL(__NR_kill, CALL(__NR_getpid), 6)); /* abort */
    case 25: return word(CALL(__NR_exit_group, ASKING)); /* without a word */
    case 26: put(order, "\2\x0c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\3\0\0\0\0\1\0", 25);
             return word(CALL(__NR_exit_group, ASKING | 7));
    case 27: put(order, "\2\x0c\0\0\0\0\0\0", 8);
             return word(CALL(__NR_exit_group, ASKING));
    }
    return NOTHING;
}
