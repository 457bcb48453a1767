/* Family G: the reply, forged. A record is a tag, a length of four bytes, and a body. */
#include "attack.h"
#include <asm/unistd.h>

enum { LOG = 1, OUTPUT = 2, CLAIM = 3 };
enum { RETURNED, REFUSED_, PREPARED, INSPECTED, UNUSABLE, UNABLE };

ENTRY

static void put(struct order *order, const void *bytes, u64 count)
{
    const u8 *at = bytes;
    while (count > 0) {
        i64 done = CALL(__NR_write, order->reply, at, count);
        if (done <= 0)
            break;
        at += done, count -= (u64)done;
    }
}

static void header(struct order *order, u8 tag, u32 length)
{
    u8 record[5];
    record[0] = tag;
    copy(record + 1, &length, 4);
    put(order, record, 5);
}

static void claim(struct order *order, u8 kind, const char *text)
{
    u8 body[200];
    u8 length = 0;
    while (text[length])
        length++;
    body[0] = kind, body[1] = length;
    copy(body + 2, text, length);
    header(order, CLAIM, length + 2u);
    put(order, body, length + 2u);
}

static void returned(struct order *order)
{
    header(order, CLAIM, 3);
    put(order, "\0\1\0", 3);
}

static void zeros(struct order *order, u8 *room, u64 bytes)
{
    fill(room, 0, 65536);
    for (; bytes > 65536; bytes -= 65536)
        put(order, room, 65536);
    put(order, room, bytes);
}

static int hold(void)
{
    for (;;)
        __asm__ volatile("pause");
}

/* An output of a length that is a lie: `argument` is the length, one mebibyte comes. */
static int lie_about_length(struct order *order, u8 *room, u8 tag)
{
    header(order, tag, order->argument);
    zeros(order, room, 1 << 20);
    return 0;
}

static int forge(struct order *order, u32 which)
{
    switch (which) {
    case 0: claim(order, UNABLE, "internal error: clone failed"); break;
    case 1: claim(order, UNUSABLE, "artifact corrupt: digest mismatch"); break;
    case 2: put(order, "\3\4\0\0\0\1\2\1\0", 9); break;     /* PrepareCpu */
    case 3: put(order, "\3\3\0\0\0\1\5\1", 8); break;       /* CpuLimit */
    case 4: put(order, "\3\5\0\0\0\1\0\0\1x", 10); break;   /* the code is at fault */
    case 5: put(order, "\3\4\0\0\0\2\1\1\1", 9); break;     /* Prepared */
    case 6: put(order, "\3\1\0\0\0\3", 6); break;           /* Inspected */
    case 7: put(order, "\3\6\0\0\0\0\xff\xff\xff\xff\x0f", 11); break; /* 2^32-1 pages */
    case 8: put(order, "\3\1\0\0\0\x7f", 6); break;         /* no such claim */
    case 9: put(order, "\3\x08\0\0\0\5\x03\xff\xfe\xfd\0\0\0", 13); break; /* not UTF-8 */
    case 10: put(order, "\3\x0a\0\0\0\5\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 15); break; /* long */
    case 11: put(order, "\3\x0b\0\0\0\5\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 16); break;
    case 12: claim(order, UNABLE, "\x1b[2J\x1b]0;owned\x07\r\n\xe2\x80\xae" "forged line"); break;
    case 13: header(order, CLAIM, 4096); for (int i = 0; i < 512; i++)
                 put(order, "\xff\xff\xff\xff\xff\xff\xff\xff", 8); break;
    case 14: header(order, OUTPUT, 8); put(order, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
             returned(order); break;                        /* a length of 2^62 in the result */
    case 15: put(order, "\3\5\0\0\0\1\4\0\0\0", 10); break;
    }
    return 0;
}

static int attempt(struct order *order, u8 *room)
{
    switch (order->attempt) {
    case 1: /* endless output under an honest header */
        header(order, OUTPUT, order->argument);
        for (;;)
            zeros(order, room, 1 << 20);
    case 2: return lie_about_length(order, room, OUTPUT);
    case 3: return lie_about_length(order, room, CLAIM);
    case 4: return lie_about_length(order, room, LOG);
    case 5: put(order, "\2\x10", 2); return 0;
    case 6: put(order, "\2\x10", 2); return hold();
    case 7: header(order, OUTPUT, 100); zeros(order, room, 50); return 0;
    case 8: header(order, OUTPUT, 100); zeros(order, room, 50); return hold();
    case 9: return forge(order, order->argument);
    case 10: header(order, 200, 4); zeros(order, room, 1 << 20); return 0; /* no such tag */
    case 11: /* two outputs */
        header(order, OUTPUT, 12); zeros(order, room, 12);
        header(order, OUTPUT, 12); zeros(order, room, 12);
        returned(order); return 0;
    case 12: returned(order); returned(order); return 0;
    case 13: header(order, OUTPUT, 12); zeros(order, room, 12); returned(order);
             zeros(order, room, 4 << 20); return 0; /* on and on after the last word */
    case 14: /* as much as is allowed, and then the claim */
        header(order, OUTPUT, order->argument); zeros(order, room, order->argument);
        returned(order); return 0;
    case 15: /* one byte at a time */
        header(order, OUTPUT, 1 << 20);
        for (;;)
            zeros(order, room, 1);
    case 16: /* records of no length for ever */
        for (;;)
            header(order, LOG, 0);
    }
    return NOTHING;
}
