/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The room `wire`: the protocol between the host and the guest agent, one definition that both sides compile. Pure functions on memory
 * the caller owns; no allocation, no state, no system calls, so that the freestanding agent and the fuzzers use it as it is.
 *
 * The channel is a byte stream (a virtio-serial port). Everything is little-endian. It carries frames:
 *
 *     u32 length of the payload     at most WIRE_PAYLOAD_MAX
 *     u16 type                      enum wire_type
 *     u16 zero                      anything else is a protocol error
 *     u64 id                        see below
 *     payload
 *
 * Except for WIRE_DATA, whose payload is one byte `stream` and then raw bytes, a payload is a list of fields:
 *
 *     u16 key                       enum wire_key; unknown keys are skipped, so that newer peers may say more
 *     u32 length of the value
 *     value                         a number is a u64; text has no final NUL; a list is a repeated key, in order
 *
 * The start. The guest speaks first: HELLO with the range of versions it can and what it is. The host answers HELLO with the one version it
 * chose. Nothing else is allowed before. A peer that cannot agree says so and closes.
 *
 * Requests (host to guest) carry an id that the host chooses: not 0, not the id of a request still unanswered, nor of a process still
 * known. Each gets exactly one ANSWER with the same id: KEY_ERRNO (0 = done) and, when that is not 0, KEY_TEXT. Requests overlap; answers come in
 * any order.
 *
 * Processes. A RUN whose ANSWER is 0 has started a process, known by the request's id until its EXIT has been sent. RUN is answered when exec
 * has succeeded or failed: a program that cannot be started is an errno here, never an exit.
 *   - Output is DATA (guest to host) of stream 1 or 2 (a tty has only 1). Input is DATA (host to guest) of stream 0.
 *   - Credit. Nobody may send more bytes of a stream than the receiver has granted by CREDIT (id, KEY_STREAM, KEY_COUNT bytes). Each
 *     stream starts at WIRE_CREDIT_START bytes on both sides. More is a protocol error. So no program fills memory on either side, and a slow
 *     reader slows only the program it reads from.
 *   - CLOSE (host to guest) ends stream 0. Bytes sent before it are still delivered. INPUT_GONE (guest to host): the process will not
 *     read any more; input that arrives later is dropped by the guest.
 *   - EXIT is sent exactly once, after all that the process itself had written before it ended. Output of children that keep the pipe
 *     open is not waited for; after EXIT no DATA of this id follows. EXIT needs no answer.
 *   - Messages of the host about an id that is not (or no longer) known are dropped silently where they need no answer, and answered with ESRCH else:
 *     they may have crossed the EXIT.
 *
 * What a hostile guest can do with it is say nonsense: the host checks lengths, ids, credit and order, and treats a violation as the guest's death.
 */
#ifndef GV_WIRE_H
#define GV_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_VERSION 1
#define WIRE_HEADER 16
#define WIRE_PAYLOAD_MAX (1U << 20)   /* host to guest: argv and environment travel in one frame */
#define WIRE_GUEST_PAYLOAD_MAX 65536U /* guest to host */
#define WIRE_DATA_MAX 32751U /* bytes in one DATA frame, either way: header + stream + data = 32 KiB, what virtio_console moves at once */
#define WIRE_CREDIT_START 262144U
#define WIRE_PORT_NAME "gvmkit.agent"

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_ANSWER = 2,
    WIRE_DATA = 3,
    WIRE_CREDIT = 4,     /* STREAM, COUNT */
    WIRE_CLOSE = 5,      /* end of stream 0 */
    WIRE_EXIT = 6,       /* KIND, STATUS, and usage: CPU_USER, CPU_SYSTEM (microseconds), MAX_RSS (KiB) */
    WIRE_INPUT_GONE = 7, /* nobody reads stream 0 any more */
    WIRE_NOTE = 8,       /* guest to host, id 0: TEXT, for the debug log */

    /* requests */
    WIRE_ROOT = 16,     /* mounts the root; once, before anything but PING, CLOCK, SHUTDOWN */
    WIRE_RUN = 17,      /* starts a process */
    WIRE_RESIZE = 18,   /* ID, ROWS, COLUMNS */
    WIRE_SIGNAL = 19,   /* ID, SIGNAL, GROUP (1 = its whole process group) */
    WIRE_MOUNT = 20,    /* a volume */
    WIRE_NET = 21,      /* an interface */
    WIRE_HOSTS = 22,    /* HOST ("ADDRESS NAME..."), DNS addresses, SEARCH domains: rewrites /etc/hosts, /etc/resolv.conf, /etc/hostname */
    WIRE_CLOCK = 23,    /* SECONDS, NANOSECONDS since the epoch; SEED (random bytes, credited to the pool) */
    WIRE_STATS = 24,    /* answered with the KEY_STAT_* numbers */
    WIRE_SYNC = 25,     /* flushes every file system */
    WIRE_SHUTDOWN = 26, /* TERM then KILL to every process (GRACE ms between), unmounts, answers, powers off */
    WIRE_PING = 27,
};

enum wire_key {
    KEY_ERRNO = 1, /* Linux errno */
    KEY_TEXT = 2,
    KEY_VERSION_MIN = 3,
    KEY_VERSION_MAX = 4,
    KEY_VERSION = 5,
    KEY_AGENT = 6, /* text: the agent's own version */
    KEY_STREAM = 7,
    KEY_COUNT = 8,
    KEY_ID = 9, /* the process a request is about */

    KEY_ARG = 16,  /* repeated; the first is argv[0] */
    KEY_ENV = 17,  /* repeated, NAME=value */
    KEY_PATH = 18, /* RUN: the program, looked up in the PATH of ENV when it has no slash (default: ARG 0); MOUNT: the mount point */
    KEY_CWD = 19,  /* default "/"; made if it does not exist and CWD_CREATE is 1 */
    KEY_CWD_CREATE = 20,
    KEY_USER = 21, /* as Docker takes it: "", "name", "uid", "name:group", ...; looked up in the image's /etc/passwd and /etc/group */
    KEY_GROUP_EXTRA = 22, /* repeated number: additional groups */
    KEY_RLIMIT = 23,      /* repeated: "RESOURCE SOFT HARD", numbers in decimal, RESOURCE as in <sys/resource.h>, "-" = unlimited */
    KEY_STDIN = 24,       /* enum wire_stdin */
    KEY_TTY = 25,         /* 1: the three streams are one terminal */
    KEY_ROWS = 26,
    KEY_COLUMNS = 27,
    KEY_SIGNAL = 28,
    KEY_GROUP = 29,
    KEY_KIND = 30,   /* enum wire_exit */
    KEY_STATUS = 31, /* exit code or signal number */
    KEY_CPU_USER = 32,
    KEY_CPU_SYSTEM = 33,
    KEY_MAX_RSS = 34,
    KEY_DEFAULT_ENV = 35, /* 1: add HOME (of the user) and, on a tty, TERM=xterm where ENV lacks them */
    KEY_BUILTIN = 36,     /* RUN: enum wire_builtin instead of a program; ARG are its arguments */

    KEY_DISK = 48,       /* ROOT, repeated: serial of a virtio disk with a squashfs; the first is on top */
    KEY_UPPER_SIZE = 49, /* bytes of the tmpfs that takes the writes */
    KEY_UPPER_DISK = 50, /* serial of a virtio disk that takes them instead (an ext4 made by the host) */
    KEY_HOSTNAME = 51,
    KEY_SHM_SIZE = 52, /* bytes of /dev/shm; default half of memory */
    KEY_TMP_SIZE = 53, /* bytes of a tmpfs on /tmp; 0 or absent: /tmp stays a directory of the root, as in Docker */

    KEY_TAG = 64, /* MOUNT: 9p tag, or disk serial, by FS */
    KEY_FS = 65,  /* MOUNT: "9p", "ext4" (a disk), "tmpfs" */
    KEY_READONLY = 66,
    KEY_SIZE = 67,  /* MOUNT tmpfs: bytes */
    KEY_OWNER = 68, /* MOUNT: KEY_USER syntax; the mounted root is given to this user; not with READONLY */
    KEY_MODE = 69,  /* MOUNT: permissions of the mounted root; not with READONLY */

    KEY_IFACE = 80,   /* NET: the MAC address that a card was made with ("52:54:..."), or the name of an interface ("lo") */
    KEY_ADDRESS = 81, /* repeated, "10.0.0.2/24" or "fd00::2/64" */
    KEY_GATEWAY = 82, /* default route; absent or "" = none */
    KEY_ROUTE = 83,   /* repeated, "10.0.0.0/8 via 10.0.0.1" or "10.0.0.0/8" */
    KEY_MTU = 84,
    KEY_MAC = 85,
    KEY_HOST = 86,
    KEY_DNS = 87,
    KEY_SEARCH = 88,

    KEY_SECONDS = 96,
    KEY_NANOSECONDS = 97,
    KEY_SEED = 98,
    KEY_GRACE = 99, /* milliseconds */

    KEY_STAT_UPTIME = 112,   /* microseconds since boot */
    KEY_STAT_CPU_USER = 113, /* microseconds, all CPUs */
    KEY_STAT_CPU_SYSTEM = 114,
    KEY_STAT_MEM_TOTAL = 115, /* bytes */
    KEY_STAT_MEM_AVAILABLE = 116,
    KEY_STAT_ROOT_USED = 117, /* bytes of the upper layer */
    KEY_STAT_ROOT_SIZE = 118,
    KEY_STAT_PROCESSES = 119, /* started by RUN and alive */
};

/*
 * What the agent can do itself in the payload's world, because an image need not have a program for it. Each runs as a process does, with its
 * streams, signals and exit, as root in "/"; ENV, USER, CWD, TTY and limits are not for it. It exits with 0 when all is done, else with 1 after lines on
 * stream 2 that say what is not.
 *   STAT    ARG 0: a path. Stream 1 gets one letter for what the path is and one for what it leads to ('f' file, 'd' directory, 'l' link, 'o' anything else,
 *           '-' nothing), then the path that it leads to, absolute and without links, when there is something.
 *   PACK    ARG 0: a file or directory, a link if the path ends in one. Stream 1 gets it as a tar (pax). ARG 1: the name of its first entry, below which
 *           the others are; "." for entries without such a directory before them.
 *   UNPACK  ARG 0: a directory. Stream 0 is a tar, whose files are made in it with their owners and modes; nothing is made or changed outside of it,
 *           whatever names and links are in the tar or in the directory. Each file appears whole or not at all.
 */
enum wire_builtin { WIRE_BUILTIN_NONE = 0, WIRE_BUILTIN_STAT = 1, WIRE_BUILTIN_PACK = 2, WIRE_BUILTIN_UNPACK = 3 };
enum wire_stdin { WIRE_STDIN_NULL = 0, WIRE_STDIN_PIPE = 1 };
enum wire_exit { WIRE_EXITED = 0, WIRE_SIGNALLED = 1, WIRE_DUMPED = 2 };

struct wire_header {
    uint32_t length;
    uint16_t type;
    uint64_t id;
};

/* Writes the WIRE_HEADER bytes of a frame. */
void wire_header_put(uint8_t out[WIRE_HEADER], const struct wire_header *h);
/* Reads them. -1 when the reserved field is not zero or the length is larger than max. */
int wire_header_get(struct wire_header *h, const uint8_t in[WIRE_HEADER], uint32_t max);

/* A frame being written into caller's memory. After an overflow all further puts do nothing and wire_frame_end returns 0. */
struct wire_writer {
    uint8_t *at, *end, *start;
    int overflow;
};
/* Starts a frame at buf, leaving room for its header. */
void wire_frame_begin(struct wire_writer *w, uint8_t *buf, size_t size);
void wire_put_bytes(struct wire_writer *w, uint16_t key, const void *p, size_t n);
void wire_put_text(struct wire_writer *w, uint16_t key, const char *s);
void wire_put_number(struct wire_writer *w, uint16_t key, uint64_t v);
/* Writes the header and returns the size of the whole frame, 0 if it did not fit. */
size_t wire_frame_end(struct wire_writer *w, uint16_t type, uint64_t id);

/* The fields of a payload, one after the other. */
struct wire_reader {
    const uint8_t *at, *end;
};
struct wire_field {
    uint16_t key;
    uint32_t length;
    const uint8_t *value;
};
void wire_reader_init(struct wire_reader *r, const void *payload, size_t n);
/* 1: *f is the next field; 0: there are no more; -1: the payload is broken. */
int wire_next(struct wire_reader *r, struct wire_field *f);
/* A number field's value; -1 when its length is not 8. */
int wire_number(const struct wire_field *f, uint64_t *v);
/* Finds the first field with the key: 1 found, 0 absent, -1 broken payload. */
int wire_find(const void *payload, size_t n, uint16_t key, struct wire_field *f);
/* The number with that key, or fallback when it is absent; -1 on a broken payload or wrong length. */
int wire_find_number(const void *payload, size_t n, uint16_t key, uint64_t fallback, uint64_t *v);

/* The host's bytes on their way into frames. The caller appends at most WIRE_HEADER + WIRE_PAYLOAD_MAX bytes and asks for frames:
 * see vm/ and guest/ for the two users. 1: *h and *payload are a whole frame at buf, *used its size; 0: more bytes are needed; -1: broken. */
int wire_frame_get(const uint8_t *buf, size_t n, uint32_t max, struct wire_header *h, const uint8_t **payload, size_t *used);

#endif
