/* What every attack shares: system calls without a C library, and how an attack says what came of it.
 *
 * An attack that comes back was not killed. It returns THROUGH if it got what it wanted, NOTHING if
 * there was nothing to be had, and REFUSED plus the error number if the kernel said no. That becomes
 * the exit status of the job, which the host reports. */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

enum { NOTHING = 2, THROUGH = 3, REFUSED = 120 };
enum { CHANNEL_HELD_BYTES = 1 << 20 };
/* Over every byte of a text in an order: the job holds its input more than once, and that is no find. */
enum { MASK = 0x80 };

/* What the battery writes at the beginning of the arena. */
struct order {
    u32 attempt;   /* which of the file's attempts */
    u32 argument;  /* its parameter, where it has one */
    u32 host_pid;  /* a process that must not be reached */
    u32 arena_len; /* set by ENTRY */
    int reply;     /* set by ENTRY */
    u32 needle_count;
    u8 canary[128];     /* a file that must not be reached, masked */
    u8 needles[4][128]; /* words that must not be found, masked */
};

static inline i64 sys(i64 n, i64 a, i64 b, i64 c, i64 d, i64 e, i64 f)
{
    register i64 r10 __asm__("r10") = d;
    register i64 r8 __asm__("r8") = e;
    register i64 r9 __asm__("r9") = f;
    i64 done;
    __asm__ volatile("syscall"
                     : "=a"(done)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return done;
}

#define PICK(_0, _1, _2, _3, _4, _5, _6, name, ...) name
#define CALL0(n) sys(n, 0, 0, 0, 0, 0, 0)
#define CALL1(n, a) sys(n, (i64)(a), 0, 0, 0, 0, 0)
#define CALL2(n, a, b) sys(n, (i64)(a), (i64)(b), 0, 0, 0, 0)
#define CALL3(n, a, b, c) sys(n, (i64)(a), (i64)(b), (i64)(c), 0, 0, 0)
#define CALL4(n, a, b, c, d) sys(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), 0, 0)
#define CALL5(n, a, b, c, d, e) sys(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), 0)
#define CALL6(n, a, b, c, d, e, f) \
    sys(n, (i64)(a), (i64)(b), (i64)(c), (i64)(d), (i64)(e), (i64)(f))
#define CALL(...) PICK(__VA_ARGS__, CALL6, CALL5, CALL4, CALL3, CALL2, CALL1, CALL0)(__VA_ARGS__)

/* The word for one call. */
static inline int word(i64 done)
{
    return done < 0 && done > -134 ? REFUSED - (int)done : THROUGH;
}

/* For several: the first that gets through ends the attempt, otherwise the last refusal counts. */
#define TRY(call)                       \
    do {                                \
        i64 tried_ = (call);            \
        if (word(tried_) == THROUGH)    \
            return THROUGH;             \
        last = word(tried_);            \
    } while (0)

static inline void copy(u8 *to, const void *from, u64 bytes)
{
    for (u64 i = 0; i < bytes; i++)
        ((volatile u8 *)to)[i] = ((const u8 *)from)[i];
}

static inline void fill(u8 *to, u8 byte, u64 bytes)
{
    for (u64 i = 0; i < bytes; i++)
        ((volatile u8 *)to)[i] = byte;
}

static int attempt(struct order *order, u8 *room);

#define ENTRY                                                                                  \
    __attribute__((section(".text.entry"))) int entry(int reply, u8 *arena, u64 arena_len)    \
    {                                                                                          \
        struct order *order = (struct order *)arena;                                           \
        order->reply = reply;                                                                  \
        order->arena_len = (u32)arena_len;                                                     \
        return attempt(order, arena + 4096);                                                   \
    }

