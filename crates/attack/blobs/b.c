/* Family B: networks, sockets, and descriptors of every other kind. */
#include "attack.h"
#include <asm/unistd.h>

enum { UNIX = 1, INET = 2, STREAM = 1, DGRAM = 2, RAW = 3 };

ENTRY

static int every_family(void)
{
    int last = NOTHING;
    for (int family = 0; family < 48; family++)
        for (int type = STREAM; type <= RAW; type++)
            TRY(CALL(__NR_socket, family, type, 0));
    return last;
}

static int reach(u32 address, int port)
{
    u8 to[16] = {INET, 0, (u8)(port >> 8), (u8)port};
    copy(to + 4, &address, 4);
    i64 socket = CALL(__NR_socket, INET, STREAM, 0);
    return socket < 0 ? word(socket) : word(CALL(__NR_connect, socket, to, 16));
}

static int reach_by_name(void)
{
    u8 to[20] = {UNIX, 0, 0, '/', 't', 'm', 'p', '/', '.', 'X', '1', '1'};
    i64 socket = CALL(__NR_socket, UNIX, STREAM, 0);
    return socket < 0 ? word(socket) : word(CALL(__NR_connect, socket, to, 12));
}

/* Sends a descriptor to the worker, which asked for none, and asks for one of the worker's. */
static int pass_descriptors(struct order *order, u8 *room, int receive)
{
    u64 *control = (u64 *)room, *message = control + 16, *vector = message + 16;
    control[0] = 20, control[1] = 1 | 1ul << 32, control[2] = 0;
    vector[0] = (u64)(vector + 4), vector[1] = 1;
    message[0] = message[1] = 0, message[2] = (u64)vector, message[3] = 1;
    message[4] = (u64)control, message[5] = 24, message[6] = 0;
    if (receive) {
        i64 received = CALL(__NR_recvmsg, order->reply, message, 0x40);
        /* The end of what the worker says, with nothing attached. */
        int is_end = received == 0 && message[5] == 0;
        return is_end ? NOTHING : word(received);
    }
    return word(CALL(__NR_sendmsg, order->reply, message, 0));
}

static int attempt(struct order *order, u8 *room)
{
    switch (order->attempt) {
    case 1: return every_family();
    case 2: return word(CALL(__NR_socketpair, UNIX, STREAM, 0, room));
    case 3: return reach_by_name();
    case 4: return reach(0x0100007f, 22);
    case 5: return reach(0xfea9fea9, 80); /* 169.254.169.254, where clouds keep secrets */
    case 6: return word(CALL(__NR_io_uring_setup, 8, room));
    case 7: return word(CALL(__NR_epoll_create1, 0));
    case 8: return word(CALL(__NR_inotify_init1, 0));
    case 9: return word(CALL(__NR_signalfd4, -1, room, 8, 0));
    case 10: return word(CALL(__NR_timerfd_create, 1, 0));
    case 11: return word(CALL(__NR_eventfd2, 0, 0));
    case 12: return pass_descriptors(order, room, 0);
    case 13: return pass_descriptors(order, room, 1);
    case 14: return word(CALL(__NR_socket, 16, RAW, order->argument)); /* netlink */
    case 15: return word(CALL(__NR_pipe2, room, 0));
    case 16: return word(CALL(__NR_fanotify_init, 0, 0));
    case 17: return word(CALL(__NR_connect, order->reply, room, 2));
    case 18: return word(CALL(__NR_io_uring_enter, 3, 1, 0, 0, 0, 0));
    }
    return NOTHING;
}
