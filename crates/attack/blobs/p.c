/* Family P: in the place of the compiler. It holds two descriptors beside the channel: its code, which
 * is sealed, and its artifact, which it is there to write. */
#include "attack.h"
#include <asm/unistd.h>

enum { CODE = 1, ARTIFACT = 2, ADD_SEALS = 1033 };
/* As the stage sets it. */
enum { ARTIFACT_BYTES_MAX = 16 << 20, PIECE = 65536 };

ENTRY

/* Claims that the artifact is there. */
static void claim(struct order *order)
{
    CALL(__NR_write, order->reply, "\3\4\0\0\0\2\1\1\1", 9);
}

static int write_beyond(u32 which)
{
    switch (which) {
    case 0: return word(CALL(__NR_ftruncate, ARTIFACT, ARTIFACT_BYTES_MAX + 1));
    case 1: return word(CALL(__NR_pwrite64, ARTIFACT, "x", 1, ARTIFACT_BYTES_MAX));
    default: CALL(__NR_lseek, ARTIFACT, ARTIFACT_BYTES_MAX, 0);
             return word(CALL(__NR_write, ARTIFACT, "x", 1));
    }
}

static int write_without_end(u8 *room)
{
    for (u32 written = 0; written < 2 * ARTIFACT_BYTES_MAX; written += PIECE) {
        i64 done = CALL(__NR_write, ARTIFACT, room, PIECE);
        if (done < 0)
            return word(done);
    }
    return THROUGH;
}

static int lie(struct order *order, u32 which)
{
    /* Only of the artifact: what it says of its code and of its heap may make its own code refused. */
    static const char lengths[] = "\3\x0d\0\0\0\2"
                                  "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                  "\x01\x01";
    if (which == 0)
        claim(order);
    else
        CALL(__NR_write, order->reply, lengths, sizeof lengths - 1);
    return 0;
}

static int change_code(u32 which)
{
    switch (which) {
    case 0: return word(CALL(__NR_pwrite64, CODE, "x", 1, 0));
    case 1: return word(CALL(__NR_ftruncate, CODE, 0));
    default: return word(CALL(__NR_ftruncate, CODE, 1 << 20));
    }
}

/* Begins as what the engine writes and goes on as nothing. */
static int look_like_the_engines(struct order *order, u8 *room)
{
    fill(room, 0xa5, PIECE);
    copy(room, "\x7f" "ELF\2\1\1\xc8\0\0\0\0\0\0\0\0\1\0>\0\1\0\0\0", 24);
    CALL(__NR_write, ARTIFACT, room, PIECE);
    claim(order);
    return 0;
}

static int attempt(struct order *order, u8 *room)
{
    switch (order->attempt) {
    case 1: return write_beyond(order->argument);
    case 2: return write_without_end(room);
    case 3: return lie(order, order->argument);
    case 4: CALL(__NR_ftruncate, ARTIFACT, ARTIFACT_BYTES_MAX); claim(order); return 0;
    case 5: return change_code(order->argument);
    case 6: CALL(__NR_fcntl, ARTIFACT, ADD_SEALS, 0xf); claim(order); return 0;
    case 7:
        claim(order);
        for (;;)
            CALL(__NR_pwrite64, ARTIFACT, room, PIECE, 0);
    case 8:
        for (int fd = 0; fd < 16; fd++)
            CALL(__NR_close, fd);
        return 0;
    case 9: return look_like_the_engines(order, room);
    case 10: claim(order); claim(order); return 0;
    case 11: /* an output beside the artifact */
        CALL(__NR_write, order->reply, "\2\4\0\0\0abcd", 9);
        claim(order);
        return 0;
    }
    return NOTHING;
}
