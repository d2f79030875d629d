#define _GNU_SOURCE
#include "receive.h"
#include "report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

// What has been made and does not have its own name yet.
static int directory = -1;
static char temporary[32];
static char own[NAME_MAX + 1];
static bool is_temporary, is_link;

void copy_temporary_name(char out[32]) {
  static uint64_t state;
  if (state == 0 && getrandom(&state, sizeof state, GRND_NONBLOCK) != sizeof state) {
    // The kernel has no randomness yet. The names are made with O_EXCL, so they need not be secret.
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    state = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^ (uint64_t)getpid() << 16;
  }
  // splitmix64
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  snprintf(out, 32, ".banger-copy-%016llx", (unsigned long long)(z ^ z >> 31));
}

int copy_land_begin(const struct copy_level *at, const char *name, copy_maker *make, const void *with) {
  if (strlen(name) > NAME_MAX) return errno = ENAMETOOLONG, -1;
  copy_land_abandon();
  strcpy(own, name);
  is_temporary = is_link = false;
  // In a directory nobody knows yet, the own name is as good as a temporary one, unless the stream has it twice.
  int result = at->made ? make(at->fd, name, with) : -1;
  if (result < 0) {
    if (at->made && errno != EEXIST) return -1;
    copy_temporary_name(temporary);
    is_temporary = true;
    result = make(at->fd, temporary, with);
  }
  if (result >= 0) directory = at->fd;
  return result;
}

void copy_land_is_link(void) { is_link = true; }

const char *copy_land_name(void) { return is_temporary ? temporary : own; }

static bool rename_it(void) {
  int from = directory;
  directory = -1;
  if (!is_temporary) return true;
  if (renameat(from, temporary, from, own) == 0) {
    // Between two names of one file rename does nothing.
    if (is_link) unlinkat(from, temporary, 0);
    return true;
  }
  int error = errno;
  unlinkat(from, temporary, 0);
  errno = error;
  return false;
}

bool copy_land(bool hold) {
  if (hold) return true;
  if (!rename_it()) return false;
  copy_place_count();
  return true;
}

void copy_land_held(void) {
  if (directory < 0) return;
  if (!rename_it()) copy_fail("cannot put %s in place: %s", own, strerror(errno));
  copy_place_count();
}

void copy_land_abandon(void) {
  if (directory >= 0) unlinkat(directory, copy_land_name(), 0);
  directory = -1;
}
