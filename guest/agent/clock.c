// `agent clock set`: the host's time for a guest that stood still.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "programs.h"
#include "util.h"

#define SECOND 1000000000LL

// Nanoseconds since 1970: digits only, within a signed 64 bit number.
static bool parse(const char *text, int64_t *ns) {
  size_t length = strspn(text, "0123456789");
  if (length == 0 || length > 18 + 1 || text[length] || (length == 19 && strcmp(text, "9223372036854775807") > 0)) return false;
  for (*ns = 0; *text; text++) *ns = *ns * 10 + (*text - '0');
  return true;
}

int clock_main(int argc, char **argv) {
  struct timespec before;
  int64_t ns;
  if (argc != 3 || strcmp(argv[1], "set") != 0 || !parse(argv[2], &ns)) {
    fprintf(stderr, "usage: agent clock set NANOSECONDS\n");
    return 2;
  }
  clock_gettime(CLOCK_REALTIME, &before);
  if (clock_settime(CLOCK_REALTIME, &(struct timespec){.tv_sec = ns / SECOND, .tv_nsec = (long)(ns % SECOND)}) < 0) {
    fprintf(stderr, "clock: %s\n", strerror(errno));
    return 1;
  }
  // By how much it was put forward (or back).
  printf("%lld\n", (long long)(ns - before.tv_sec * SECOND - before.tv_nsec));
  return 0;
}
