// Who listens in this guest: sockets from /proc/net, and the processes that hold them.
#ifndef BANGER_SOCKETS_H
#define BANGER_SOCKETS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_SOCKETS 2048
// Of a process; the kernel has 15 for programs, its own threads may have more.
#define HOLDER_NAME 32

enum socket_kind { SOCKET_TCP4, SOCKET_TCP6, SOCKET_UDP4, SOCKET_UDP6, SOCKET_KINDS };

struct socket_row {
  // What it is known by, compared byte by byte: 0 TCP or 1 UDP, port in network order, 4 or 6, address in network order.
  uint8_t key[20];
  uint32_t uid;
  uint64_t inode;
  // Who holds it; 0 when that is not known. `own`: an agent's, which is not told of. `settled`: not to be looked for any more.
  pid_t pid;
  bool own, settled;
  char name[HOLDER_NAME];
};

struct socket_set {
  size_t count, more;
  struct socket_row rows[MAX_SOCKETS];
};

// One line of these files, which it takes apart. 1: a row of ours, 0: another, -1: no other of ours comes after it.
int sockets_parse(char *line, enum socket_kind kind, struct socket_row *row);
// All that listen (TCP) or are bound and not connected (UDP), sorted, without holders. `proc` is /proc.
void sockets_read(struct socket_set *set, const char *proc);
bool sockets_same(const struct socket_set *a, const struct socket_set *b);
// Whether the numbers of sockets are what they were at the last call: a glance that costs next to nothing.
bool sockets_quiet(const char *proc);

// Looks for the holders of what has none: first among what the agent holds that runs this. false: all are known.
bool holders_agent(struct socket_set *set, const char *proc);
// Then everywhere, for the set of the last `holders_agent`.
void holders_find(void);
// Takes those over that are known and still live.
void holders_keep(struct socket_set *set, const struct socket_set *before);
#endif
