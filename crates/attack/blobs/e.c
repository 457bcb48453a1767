/* Family E: new code, and code that is already there. */
#include "attack.h"
#include <asm/unistd.h>

ENTRY

/* Looks for a `syscall` instruction in the worker's own program, whose code a job cannot unmap, and
 * calls execve through it: a filter that looked at where a call comes from would be fooled. */
static int call_through_worker(void)
{
    const u8 *at = (const u8 *)__builtin_return_address(0);
    for (u64 i = 0; i < 1 << 20; i++, at--) {
        if (at[0] != 0x0f || at[1] != 0x05)
            continue;
        i64 done;
        /* Whatever follows the instruction runs next, so the stack is left as it may be. */
        __asm__ volatile("call *%[at]"
                         : "=a"(done)
                         : "a"(__NR_execve), "D"("/bin/sh"), "S"(0), "d"(0), [at] "r"(at)
                         : "rcx", "r11", "memory");
        return word(done);
    }
    return NOTHING;
}

static int attempt(struct order *order, u8 *room)
{
    u64 text = (u64)&entry & ~4095ul;
    switch (order->attempt) {
    case 1: return word(CALL(__NR_mmap, 0, 4096, 7, 0x22, -1, 0));
    case 2: return word(CALL(__NR_mmap, 0, 4096, 5, 0x22, -1, 0));
    case 3: return word(CALL(__NR_mprotect, (u64)room & ~4095ul, 4096, 5));
    case 4: return word(CALL(__NR_mprotect, (u64)room & ~4095ul, 4096, 7));
    case 5: return word(CALL(__NR_munmap, text, 4096));
    case 6: return word(CALL(__NR_mmap, text, 4096, 3, 0x32, -1, 0));
    case 7: return word(CALL(__NR_mremap, text, 4096, 8192, 1, 0));
    case 8: { /* what comes back is what was there, or this would not go on */
        i64 done = CALL(__NR_madvise, text, 4096, 4);
        return done < 0 ? word(done) : NOTHING; }
    case 9: return call_through_worker();
    case 10: return word(CALL(__NR_pkey_mprotect, (u64)room & ~4095ul, 4096, 5, -1));
    case 11: return word(CALL(__NR_mremap, room, 4096, 4096, 3, text)); /* move a page over it */
    case 12: return word(CALL(__NR_remap_file_pages, text, 4096, 0, 0, 0));
    case 13: { /* run the arena as it is */
        room[0] = 0xc3;
        ((void (*)(void))room)();
        return THROUGH;
    }
    case 14: return word(CALL(__NR_shmat, 0, text, 0x4000));
    case 15: return word(CALL(__NR_arch_prctl, 0x1002, text)); /* the FS base */
    case 16: return word(CALL(__NR_modify_ldt, 1, room, 16));
    }
    return NOTHING;
}
