/* Gives its input back in the other order. See README.md for the convention and how to build it. */

#define EXPORT(name) __attribute__((export_name(name)))

static unsigned char buffer[1 << 20];

/* Room for the input, or 0. */
EXPORT("alloc") unsigned char *room(unsigned length) {
    return length <= sizeof buffer ? buffer : 0;
}

EXPORT("reverse") unsigned long long reverse(unsigned char *bytes, unsigned length) {
    for (unsigned low = 0, high = length; low + 1 < high; low++, high--) {
        unsigned char byte = bytes[low];
        bytes[low] = bytes[high - 1];
        bytes[high - 1] = byte;
    }
    return (unsigned long long)(unsigned)bytes << 32 | length;
}
