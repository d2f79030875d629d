// `agent ports`: who listens in this guest, once or at each change.
#define _GNU_SOURCE
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "programs.h"
#include "sockets.h"
#include "util.h"

// How often it is looked whether the number of sockets has changed, and whether the sockets have although it has not.
#define GLANCE_MS 200
#define LOOK_MS 800
// A snapshot without a change: a sign of life.
#define ALIVE_MS 30000
// Of the time that a change costs (processes are searched) so much more passes before the next look.
#define REST 20
#define SETTLE_READS 3

static void put_name(const char *name) {
  for (; *name; name++) {
    unsigned char c = (unsigned char)*name;
    if (c > ' ' && c < 0x7f && c != '%')
      putchar(c);
    else
      printf("%%%02X", c);
  }
}

static void put_row(const struct socket_row *row) {
  printf("%s %d ", row->key[0] ? "udp" : "tcp", row->key[3]);
  for (int i = 0; i < (row->key[3] == 6 ? 16 : 4); i++) printf("%02x", row->key[4 + i]);
  printf(" %u %u %d ", (unsigned)row->key[1] << 8 | row->key[2], (unsigned)row->uid, (int)row->pid);
  put_name(row->name[0] ? row->name : "-");
  putchar('\n');
}

static bool put(const struct socket_set *set) {
  size_t count = 0;
  for (size_t i = 0; i < set->count; i++) {
    if (set->rows[i].own) continue;
    put_row(&set->rows[i]);
    count++;
  }
  printf("end %zu %zu\n", count, set->more);
  return fflush(stdout) == 0;
}

// The kernel's list is read in pieces, and what closes meanwhile can hide another: a change counts when it is read twice.
static bool read_change(struct socket_set *set, const struct socket_set *before, const char *proc) {
  static struct socket_set again;
  sockets_read(set, proc);
  if (sockets_same(set, before)) return false;
  for (int i = 0; i < SETTLE_READS; i++) {
    sockets_read(&again, proc);
    if (sockets_same(set, &again)) break;
    memcpy(set, &again, sizeof again);
  }
  return !sockets_same(set, before);
}

// false: whoever read this is gone.
static bool rest(int64_t ms) {
  struct pollfd out = {.fd = 1};
  return poll(&out, 1, (int)ms) <= 0;
}

static int watch(const char *proc) {
  static struct socket_set sets[2];
  struct socket_set *set = &sets[0], *next = &sets[1];
  int64_t looked = 0, told = 0, pause = GLANCE_MS;
  sockets_quiet(proc);
  for (;; pause = GLANCE_MS) {
    int64_t now = now_ms();
    bool due = told == 0 || now - told >= ALIVE_MS, quiet = sockets_quiet(proc);
    if (due || !quiet || now - looked >= LOOK_MS) {
      looked = now;
      if (read_change(next, set, proc) || due) {
        if (!due) holders_keep(next, set);
        holders_find(next, proc);
        if (!put(next)) return 1;
        struct socket_set *old = set;
        set = next;
        next = old;
        told = now_ms();
        pause = (told - now) * REST;
      }
    }
    if (!rest(pause < GLANCE_MS ? GLANCE_MS : pause > LOOK_MS ? LOOK_MS : pause)) return 0;
  }
}

static int once(const char *proc) {
  static struct socket_set set, nothing;
  read_change(&set, &nothing, proc);
  holders_find(&set, proc);
  return put(&set) ? 0 : 1;
}

int ports_main(int argc, char **argv) {
  bool is_watch = argc > 1 && strcmp(argv[1], "--watch") == 0;
  // Another directory in place of /proc is for tests.
  const char *proc = argc > 1 + is_watch ? argv[1 + is_watch] : "/proc";
  if (argc > 2 + is_watch || proc[0] != '/' || strlen(proc) > PATH_MAX / 2) {
    fprintf(stderr, "usage: agent ports [--watch]\n");
    return 2;
  }
  return is_watch ? watch(proc) : once(proc);
}
