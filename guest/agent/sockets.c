#define _GNU_SOURCE
#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

// Of the files with UDP sockets, where those that matter are among all others.
#define READ_LIMIT (16 << 20)
#define STATE_LISTEN 0x0a
#define STATE_CLOSE 0x07

static bool is_tcp(enum socket_kind kind) { return kind == SOCKET_TCP4 || kind == SOCKET_TCP6; }

static bool parse_number(const char *text, int base, unsigned long limit, unsigned long *number) {
  char *end;
  if (!text || *text == '-' || *text == '+') return false;
  errno = 0;
  *number = strtoul(text, &end, base);
  return end != text && *end == 0 && errno == 0 && *number <= limit;
}

// The kernel prints an address as words of its own byte order.
static bool parse_address(char *text, enum socket_kind kind, uint8_t key[20]) {
  bool is_v6 = kind == SOCKET_TCP6 || kind == SOCKET_UDP6;
  size_t digits = is_v6 ? 32 : 8;
  unsigned long number;
  if (strlen(text) != digits + 5 || text[digits] != ':') return false;
  if (!parse_number(text + digits + 1, 16, 0xffff, &number)) return false;
  key[0] = !is_tcp(kind);
  key[1] = (uint8_t)(number >> 8);
  key[2] = (uint8_t)number;
  key[3] = is_v6 ? 6 : 4;
  text[digits] = 0;
  for (size_t at = digits; at > 0; at -= 8) {
    if (!parse_number(text + at - 8, 16, UINT32_MAX, &number)) return false;
    uint32_t word = (uint32_t)number;
    memcpy(key + 4 + (at - 8) / 2, &word, 4);
    text[at - 8] = 0;
  }
  return true;
}

int sockets_parse(char *line, enum socket_kind kind, struct socket_row *row) {
  // sl, local address, other address, state, queues, timer, retransmits, uid, timeout, inode.
  char *words[10], *word;
  size_t count = 0;
  unsigned long state, uid, inode;
  while (count < COUNT_OF(words) && (word = strsep(&line, " ")))
    if (*word) words[count++] = word;
  if (count < COUNT_OF(words) || !parse_number(words[3], 16, 0xff, &state)) return 0;
  // The kernel tells of listeners first, and of 100,000 connections after them.
  if (is_tcp(kind) && state != STATE_LISTEN) return -1;
  if (!is_tcp(kind) && state != STATE_CLOSE) return 0;
  *row = (struct socket_row){0};
  if (!parse_address(words[1], kind, row->key)) return 0;
  if (!parse_number(words[7], 10, UINT32_MAX, &uid) || !parse_number(words[9], 10, ULONG_MAX, &inode)) return 0;
  row->uid = (uint32_t)uid;
  row->inode = inode;
  return 1;
}

// Opened once: what is looked at five times a second is not looked up each time.
static int reopen(int *fd, const char *proc, const char *name) {
  char path[PATH_MAX];
  if (*fd >= 0) return lseek(*fd, 0, SEEK_SET) == 0 ? *fd : -1;
  snprintf(path, sizeof path, "%s/net/%s", proc, name);
  return *fd = open(path, O_RDONLY | O_CLOEXEC);
}

static bool take_line(struct socket_set *set, char *line, enum socket_kind kind) {
  struct socket_row row;
  int is = sockets_parse(line, kind, &row);
  if (is > 0 && set->count < MAX_SOCKETS)
    set->rows[set->count++] = row;
  else if (is > 0)
    set->more++;
  return is >= 0;
}

static void read_kind(struct socket_set *set, int fd, enum socket_kind kind) {
  static char text[8192];
  size_t have = 0, total = 0;
  bool is_header = true;
  ssize_t n;
  while (total < READ_LIMIT && have < sizeof text && (n = read(fd, text + have, sizeof text - have)) > 0) {
    char *line = text, *end;
    have += (size_t)n;
    total += (size_t)n;
    for (; (end = memchr(line, '\n', have)); line = end + 1) {
      *end = 0;
      have -= (size_t)(end + 1 - line);
      if (!is_header && !take_line(set, line, kind)) return;
      is_header = false;
    }
    memmove(text, line, have);
  }
}

static int compare(const void *a, const void *b) {
  const struct socket_row *x = a, *y = b;
  int order = memcmp(x->key, y->key, sizeof x->key);
  return order ? order : x->inode < y->inode ? -1 : x->inode > y->inode;
}

void sockets_read(struct socket_set *set, const char *proc) {
  static const char *const names[SOCKET_KINDS] = {"tcp", "tcp6", "udp", "udp6"};
  static int fds[SOCKET_KINDS] = {-1, -1, -1, -1};
  size_t kept = 0;
  set->count = set->more = 0;
  for (int kind = 0; kind < SOCKET_KINDS; kind++)
    if (reopen(&fds[kind], proc, names[kind]) >= 0) read_kind(set, fds[kind], (enum socket_kind)kind);
  qsort(set->rows, set->count, sizeof *set->rows, compare);
  // Several sockets of one port (SO_REUSEPORT) are one.
  for (size_t i = 0; i < set->count; i++)
    if (kept == 0 || memcmp(set->rows[kept - 1].key, set->rows[i].key, sizeof set->rows[i].key) != 0) set->rows[kept++] = set->rows[i];
  set->count = kept;
}

bool sockets_same(const struct socket_set *a, const struct socket_set *b) {
  bool same = a->count == b->count && a->more == b->more;
  for (size_t i = 0; same && i < a->count; i++) same = compare(&a->rows[i], &b->rows[i]) == 0;
  return same;
}

// `TCP: inuse 5 ...` of a file with such lines.
static unsigned long in_use(const char *text, const char *name) {
  const char *at = strstr(text, name);
  return at ? strtoul(at + strlen(name), NULL, 10) : 0;
}

bool sockets_quiet(const char *proc) {
  static int fds[2] = {-1, -1};
  static unsigned long before[4];
  unsigned long now[4] = {0};
  char text[1024];
  for (int i = 0; i < 2; i++) {
    int fd = reopen(&fds[i], proc, i ? "sockstat6" : "sockstat");
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    // A kernel without IPv6 has no second one.
    if (n < 0 && i == 0) return false;
    text[n < 0 ? 0 : n] = 0;
    now[2 * i] = in_use(text, i ? "TCP6: inuse " : "TCP: inuse ");
    now[2 * i + 1] = in_use(text, i ? "UDP6: inuse " : "UDP: inuse ");
  }
  bool same = memcmp(now, before, sizeof now) == 0;
  memcpy(before, now, sizeof now);
  return same;
}
