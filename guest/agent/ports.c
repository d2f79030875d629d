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
// A look at many sockets takes its time: so much more passes before the next one, but where numbers have changed no more than LOOK_MS.
#define REST 20
#define QUIET_REST 100
#define QUIET_MS 10000
// Where the search for processes took longer, what is new is told before it, too.
#define SLOW_MS 50
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

struct watch {
  const char *proc;
  struct socket_set sets[2], *set, *next;
  int64_t told, search_ms;
};

static bool tell(struct watch *w) {
  if (holders_agent(w->next, w->proc)) {
    if (w->search_ms >= SLOW_MS && !put(w->next)) return false;
    int64_t begun = now_ms();
    holders_find();
    w->search_ms = now_ms() - begun;
  }
  struct socket_set *old = w->set;
  w->set = w->next;
  w->next = old;
  w->told = now_ms();
  return put(w->set);
}

// What is to be told, if anything.
static bool look(struct watch *w) {
  bool due = w->told == 0 || now_ms() - w->told >= ALIVE_MS;
  if (!read_change(w->next, w->set, w->proc) && !due) return true;
  holders_keep(w->next, w->set);
  return tell(w);
}

static int64_t between(int64_t n, int64_t low, int64_t high) { return n < low ? low : n > high ? high : n; }

static int watch(const char *proc) {
  static struct watch w;
  int64_t looked = 0, cost = 0;
  w.proc = proc;
  w.set = &w.sets[0];
  w.next = &w.sets[1];
  sockets_quiet(proc);
  for (;;) {
    int64_t now = now_ms();
    if (w.told == 0 || !sockets_quiet(proc) || now - looked >= between(cost * QUIET_REST, LOOK_MS, QUIET_MS)) {
      looked = now;
      if (!look(&w)) return 1;
      cost = now_ms() - now;
    }
    int64_t pause = looked == now ? cost * REST : 0;
    if (!rest(between(pause, GLANCE_MS, LOOK_MS))) return 0;
  }
}

static int once(const char *proc) {
  static struct socket_set set, nothing;
  read_change(&set, &nothing, proc);
  if (holders_agent(&set, proc)) holders_find();
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
