/* Family H: the time, the machine, the host: what a job could learn. */
#include "attack.h"
#include <asm/unistd.h>

ENTRY

/* Whether a page can be read: sigaltstack reads what it is given, and EFAULT says that it could not. */
static int is_there(u64 page)
{
    return CALL(__NR_sigaltstack, page, 0) != -14;
}

/* The kernel's note at the top of the stack: pairs of a kind and a value. */
static u64 auxiliary(u64 kind, u64 *stack)
{
    for (; is_there((u64)stack & ~4095ul); stack += 2)
        for (u64 *pair = stack; pair < stack + 2; pair++)
            if (pair[0] == kind && pair[1] > 4096 && (pair[1] & 4095) == 0)
                return pair[1];
    return 0;
}

static int read_clock_page(u64 *stack)
{
    u64 vdso = auxiliary(33, stack);
    if (!vdso)
        return NOTHING;
    /* It begins as every ELF file does, if it is there. */
    return *(volatile u32 *)vdso == 0x464c457f ? THROUGH : NOTHING;
}

static int page_holds(struct order *order, const u8 *page)
{
    for (u32 i = 0; i < order->needle_count; i++) {
        const u8 *needle = order->needles[i];
        u32 length = 0;
        while (needle[length] != MASK)
            length++;
        for (u32 at = 0; length && at + length <= 4096; at++) {
            u32 same = 0;
            while (same < length && page[at + same] == (needle[same] ^ MASK))
                same++;
            if (same == length)
                return 1;
        }
    }
    return 0;
}

/* Through the stack, and through every page that something on the stack points to, for the host's
 * name, its program, its folders. */
static int look_around(struct order *order, u64 stack)
{
    u64 own = (u64)order & ~4095ul, seen = 0;
    for (u64 page = stack & ~4095ul; is_there(page); page += 4096) {
        if (page == own)
            continue;
        if (page_holds(order, (const u8 *)page))
            return THROUGH;
        for (u64 *at = (u64 *)page; at < (u64 *)(page + 4096); at++) {
            u64 there = *at & ~4095ul;
            if (there < 65536 || there >> 47 || there == seen || there == own)
                continue;
            seen = there;
            if (is_there(there) && page_holds(order, (const char *)there))
                return THROUGH;
        }
    }
    return NOTHING;
}

static int read_counter(u32 which)
{
    u32 low = 0, high = 0;
    switch (which) {
    case 0: __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)); break;
    case 1: __asm__ volatile("rdtscp" : "=a"(low), "=d"(high) : : "ecx"); break;
    default: __asm__ volatile("rdpmc" : "=a"(low), "=d"(high) : "c"(0)); break;
    }
    return THROUGH;
}

static int say_address(struct order *order, u64 stack)
{
    static const char digits[16] = "0123456789abcdef";
    u8 record[5 + 1 + 1 + 1 + 33];
    copy(record, "\1\x24\0\0\0\2\0\x21", 8);
    u64 values[2] = {(u64)&entry, stack};
    for (int i = 0; i < 33; i++)
        record[8 + i] = i == 16 ? ' ' : (u8)digits[values[i > 16] >> (60 - 4 * (i % 17)) & 15];
    CALL(__NR_write, order->reply, record, 41);
    /* A whole reply, so that the worker stays and forks the next job. */
    CALL(__NR_write, order->reply, "\2\x0c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3\2\0\0\0\0\1", 24);
    return 0;
}

static int attempt(struct order *order, u8 *room)
{
    u32 which = order->argument;
    u64 *stack = (u64 *)(((u64)__builtin_frame_address(0) + 15) & ~15ul);
    u32 a = 0, b = 0, c = 0, d = 0;
    switch (order->attempt) {
    case 1: return read_counter(which);
    case 2: return read_clock_page(stack);
    case 3: return word(CALL(__NR_clock_gettime, which, room));
    case 4: return word(CALL(__NR_gettimeofday, room, 0));
    case 5: return word(CALL(__NR_time, 0));
    case 6: return word(CALL(__NR_times, room));
    case 7: return word(CALL(__NR_getrusage, 0, room));
    case 8: __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)); return THROUGH;
    case 9: return word(CALL(__NR_uname, room));
    case 10: return word(CALL(__NR_sysinfo, room));
    case 11: return word(CALL(__NR_getcpu, room, 0, 0));
    case 12: return word(CALL(__NR_sched_getaffinity, 0, 128, room));
    case 13: return look_around(order, (u64)stack);
    case 14: return say_address(order, (u64)stack);
    case 15: return word(CALL(__NR_getrandom, room, 8, 0));
    case 16: return word(CALL(__NR_getpid));
    case 17: return word(CALL(__NR_getcwd, room, 4096));
    case 18: return word(CALL(__NR_timer_create, 1, 0, room));
    case 19: return word(CALL(__NR_alarm, 1));
    case 20: return word(CALL(__NR_mincore, (u64)&entry & ~4095ul, 4096, room));
    case 21: return word(CALL(__NR_getuid));
    case 22: { /* whose host name is it, after all? */
        i64 done = CALL(__NR_uname, room);
        return done < 0 ? word(done) : page_holds(order, (char *)room) ? THROUGH : NOTHING; }
    }
    return NOTHING;
}
